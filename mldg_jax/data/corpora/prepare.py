"""Builds a corpus folder from a source folder (``mldg corpus build``)."""

import contextlib
import io
import shutil
from collections.abc import Sequence
from pathlib import Path

import tensorflow_datasets as tfds

from mldg_jax.common import processes
from mldg_jax.common.errors import UserError
from mldg_jax.common.files import check_folder
from mldg_jax.data.corpora import manifest, shards
from mldg_jax.data.corpora.completeness import Report
from mldg_jax.data.corpora.official import (
    BUILDERS,
    MOST_SKIPPED,
    Manifest,
    SourceBuilder,
)
from mldg_jax.data.corpus_folder import read_summary


def build(
    name: str,
    source: str | Path,
    data_dir: str | Path,
    *,
    workers: int | None = None,
    allow_incomplete: bool = False,
    most_skipped: float = MOST_SKIPPED,
    shard_rows: int = shards.ROWS,
    beam: Sequence[str] | None = None,
    progress: bool = True,
    segments: str | Path | None = None,
) -> tuple[Path, Report | None]:
    """Prepares a corpus, or resumes an earlier call that was interrupted.

    Args:
      name: a name in ``BUILDERS``.
      source: the folder that the official archives were unpacked into; for "manifest",
        the table.
      data_dir: the corpus goes to ``DATA_DIR/NAME/1.0.0`` (that of a table to
        ``DATA_DIR/manifest/TABLE/1.0.0``), unfinished work to ``DATA_DIR/build``.
      workers: number of processes; None for one per core.
      allow_incomplete: build the corpus even if the source is incomplete.
      most_skipped: largest fraction of a split's recordings that may be unusable.
      shard_rows: maximum number of records in a shard.
      beam: options of Apache Beam, e.g. ["--runner=DataflowRunner"], to write the
        shards with Beam; None for processes on this machine.
      progress: show a progress bar.
      segments: of "manifest": file with the segment labels, see ``segment_files``.

    Returns:
      The corpus folder and the report on the source, None if the corpus already exists.

    Raises:
      UserError: there is no such corpus, the source is incomplete, too many recordings
        are unusable, a dependency is missing, ``data_dir`` cannot be written to, or
        the corpus exists and was built from another table.
    """
    if name not in BUILDERS:
        raise UserError(f"no corpus {name!r}; choose from {', '.join(BUILDERS)}")
    builder = _builder(name, Path(source), Path(data_dir).absolute())
    folder = Path(builder.data_dir)
    if (folder / "dataset_info.json").exists():
        if name == "manifest":
            _check_table(folder, Path(source), segments)
        return folder, None
    check_folder(folder)
    if segments is not None:
        if not isinstance(builder, Manifest):
            raise UserError(
                f"{name} has its own segment labels or none: only a "
                "manifest takes --segments"
            )
        builder.segments = Path(segments)
    builder.allow_incomplete = allow_incomplete
    builder.most_skipped, builder.shard_rows = most_skipped, shard_rows
    planned = builder.plan(Path(source))
    # Left by a killed run; they only hold links to shards.
    for leftover in folder.parent.glob("incomplete.*"):
        shutil.rmtree(leftover)
    tfds.disable_progress_bar()
    if beam is None:
        workers = workers or processes.cores()
        shards.make_all(planned, builder.rows, workers=workers, progress=progress)
        options = None
    else:
        options = _beam_options(beam)
    with contextlib.redirect_stdout(io.StringIO()):  # TFDS prints its own summary
        builder.download_and_prepare(
            file_format="array_record",
            download_config=options,
            download_dir=builder.shard_folder,  # nothing is downloaded
        )
    shutil.rmtree(builder.shard_folder)
    with contextlib.suppress(OSError):  # not empty if another corpus is being built
        builder.shard_folder.parent.rmdir()
    return folder, builder.report


def from_manifest(
    path: str | Path, data_dir: str | Path, **options
) -> tuple[Path, Report | None]:
    """Prepares the corpus that a CSV, TSV or Parquet table lists.

    Args:
      path: the table.
      data_dir: the corpus goes to ``DATA_DIR/manifest/TABLE/1.0.0``.
      **options: further arguments of ``build``.

    Returns:
      As ``build``.
    """
    return build("manifest", path, data_dir, **options)


def _check_table(folder: Path, table: Path, segments: str | Path | None) -> None:
    """Checks that an existing corpus was built from its source as it is now.

    Corpora of older versions have no fingerprint to compare with.
    """
    built_from = read_summary(folder).get("source_sha256")
    now = manifest.sha256_of(table, segments)
    if built_from and now and built_from != now:
        raise UserError(
            f"{folder} was built from another table than {table} is now, or from other "
            "segment labels (their SHA-256 differs): to build it again, delete that "
            "folder; to keep it, give the "
            "table another file name, which is the name of its corpus"
        )


def _builder(name: str, source: Path, data_dir: Path) -> SourceBuilder:
    config = None
    if name == "manifest":
        config = tfds.core.BuilderConfig(name=manifest.config_of(source))
    return BUILDERS[name](
        config=config, data_dir=str(data_dir), file_format="array_record"
    )


def _beam_options(flags: Sequence[str]) -> tfds.download.DownloadConfig:
    try:
        from apache_beam.options import (  # pyright: ignore[reportMissingImports]
            pipeline_options,
        )
    except ModuleNotFoundError:
        raise UserError(
            "--beam needs Apache Beam: pip install 'mldg_jax[beam]'"
        ) from None
    options = pipeline_options.PipelineOptions(list(flags))
    runner = options.view_as(pipeline_options.StandardOptions).runner
    return tfds.download.DownloadConfig(
        beam_runner=runner or "DirectRunner", beam_options=options
    )
