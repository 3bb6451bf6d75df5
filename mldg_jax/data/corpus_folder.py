"""The folder of a prepared corpus: where it is, and what was recorded of it."""

import re
from pathlib import Path
from typing import Any

from mldg_jax.common.buckets import is_bucket
from mldg_jax.common.errors import UserError
from mldg_jax.common.text_files import read_json
from mldg_jax.data import staging

CORPORA = (
    *("asvspoof2019_la", "asvspoof2021_la", "asvspoof2021_df", "asvspoof5"),
    *("in_the_wild", "fakeavceleb", "partialspoof", "debspoof", "manifest"),
)


def find_corpus(name: str, config: str, data_dir: str | Path) -> Path:
    """Finds the folder of a prepared corpus.

    Args:
      name: name of the corpus.
      config: size, or name of the source table; "" if only one was built.
      data_dir: folder that holds the corpora; may be the URL of one in a bucket, from
        which the corpus is then copied to this machine, see ``staging``.

    Returns:
      The folder of the latest version.

    Raises:
      UserError: the corpus has not been built, or a ``config`` must be chosen.
    """
    if is_bucket(data_dir):
        built = staging.built(str(data_dir), name)
        version = _latest(name, config, data_dir, built)
        return staging.stage(str(data_dir), f"{name}/{version}")
    home = Path(data_dir) / name
    infos = [*home.glob(f"*/{staging.INFO}"), *home.glob(f"*/*/{staging.INFO}")]
    built = sorted(path.parent.relative_to(home).as_posix() for path in infos)
    return home / _latest(name, config, data_dir, built)


def _latest(name: str, config: str, data_dir: str | Path, built: list[str]) -> str:
    """Chooses from a corpus's sorted "CONFIG/VERSION" or "VERSION", for no config."""
    configs = sorted({x.rpartition("/")[0] for x in built} - {""})
    versions = [x for x in built if x.rpartition("/")[0] == config]
    if not versions and not config and len(configs) == 1:
        versions = [x for x in built if "/" in x]
    if versions:
        return versions[-1]
    if not config and configs:
        raise UserError(
            f"{name} was built as {' and as '.join(configs)}: name one, as in "
            f"{name}/{configs[0]}"
        )
    if name not in CORPORA:
        if _is_table(name, data_dir):
            raise UserError(
                f"there is no corpus {name!r} under {data_dir}; the table of this name "
                f"was built as manifest/{name}: name that (in a config corpus.name is "
                f"manifest and corpus.config {name})"
            )
        raise UserError(
            f"there is no corpus {name!r} under {data_dir}, and it cannot be built; "
            f"known are {', '.join(CORPORA)}. For your own recordings: mldg corpus "
            "build manifest --source TABLE.csv"
        )
    option = f"--size {config or 'small'}" if name == "debspoof" else "--source SOURCE"
    title = "/".join(filter(None, (name, config)))
    raise UserError(
        f"There is no corpus {title} under {data_dir}. Build it: "
        f"mldg corpus build {name} {option} --data-dir {data_dir}"
    )


def _is_table(name: str, data_dir: str | Path) -> bool:
    """Returns whether a corpus was built from a table of this name."""
    if is_bucket(data_dir) or not re.fullmatch(r"\w+", name):
        return False
    return any(Path(data_dir).glob(f"manifest/{name}/*/{staging.INFO}"))


def split_names(folder: str | Path) -> list[str]:
    """Lists the splits of a prepared corpus.

    Args:
      folder: folder of the corpus, from ``find_corpus``.

    Returns:
      Names, sorted.
    """
    paths = sorted(Path(folder).glob("index-*.parquet"))
    return [path.stem.removeprefix("index-") for path in paths]


def fix_of_training_split(folder: Path) -> str:
    """Returns how a corpus without a split "train" can be trained on, if it can.

    Args:
      folder: folder of the corpus.
    """
    if folder.absolute().parent.parent.name != "manifest":
        return "train on another corpus, with --set corpus.name=NAME"
    return (
        "give the table a column split with train, dev or eval in every line, delete "
        "that folder and build the corpus again"
    )


def read_summary(folder: str | Path) -> dict[str, Any]:
    """Reads what was recorded of a corpus when it was built.

    Args:
      folder: folder of the corpus, from ``find_corpus``.

    Returns:
      The content of ``corpus.json``, with ``corpus_sha256`` and counts; empty if there
      is no such file.

    Raises:
      UserError: the file is damaged.
    """
    path = Path(folder) / "corpus.json"
    fix = f"delete {folder} and build the corpus again"
    return read_json(path, dict, fix=fix) if path.exists() else {}


def corpus_sha256(folder: str | Path) -> str:
    """Reads the fingerprint of a corpus.

    Args:
      folder: folder of the corpus, from ``find_corpus``.

    Returns:
      SHA-256 of its utterances in hexadecimal; "" if none was recorded.
    """
    return read_summary(folder).get("corpus_sha256", "")
