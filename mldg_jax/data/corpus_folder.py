"""The folder of a prepared corpus: where it is, and what was recorded of it."""

from pathlib import Path
from typing import Any

from mldg_jax.common.errors import UserError
from mldg_jax.common.text_files import read_json

CORPORA = (
    *("asvspoof2019_la", "asvspoof2021_la", "asvspoof2021_df", "asvspoof5"),
    *("in_the_wild", "fakeavceleb", "debspoof", "manifest"),
)


def find_corpus(name: str, config: str, data_dir: str | Path) -> Path:
    """Finds the folder of a prepared corpus.

    Args:
      name: name of the corpus.
      config: size, or name of the source table; "" if only one was built.
      data_dir: folder that holds the corpora.

    Returns:
      The folder of the latest version.

    Raises:
      UserError: the corpus has not been built, or a ``config`` must be chosen.
    """
    home = Path(data_dir) / name
    infos = sorted(home.glob("*/*/dataset_info.json"))
    configs = sorted({path.parent.parent.name for path in infos})
    versions = sorted((home / config).glob("*/dataset_info.json"))
    if not versions and not config and len(configs) == 1:
        versions = infos
    if versions:
        return versions[-1].parent
    if not config and configs:
        raise UserError(
            f"{name} was built as {' and as '.join(configs)}: name one, as in "
            f"{name}/{configs[0]}"
        )
    if name not in CORPORA:
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


def split_names(folder: str | Path) -> list[str]:
    """Lists the splits of a prepared corpus.

    Args:
      folder: folder of the corpus, from ``find_corpus``.

    Returns:
      Names, sorted.
    """
    paths = sorted(Path(folder).glob("index-*.parquet"))
    return [path.stem.removeprefix("index-") for path in paths]


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
