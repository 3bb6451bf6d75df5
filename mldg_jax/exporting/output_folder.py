"""The folder of an export: what may be in it before, and what marks it."""

from collections.abc import Sequence
from pathlib import Path

from mldg_jax.common import run_folder
from mldg_jax.common.errors import UserError
from mldg_jax.common.files import check_folder, write_text, writing

README = "README.md"


def claim(folder: str | Path, readme: str, files: Sequence[str], form: str) -> None:
    """Writes an export's README first, which marks the folder as an export.

    An export that is stopped before its end can thus be repeated.

    Args:
      folder: created if it does not exist; an earlier export of the same form in it is
        replaced.
      readme: text of ``README.md``. The first line tells the forms of export apart.
      files: other files and folders that this form of export writes into the folder.
      form: as in ``mldg export --format``, for the message.

    Raises:
      UserError: the folder cannot be written to, is a run folder or has a file that an
        export of this form did not write.
    """
    check(folder, readme.partition("\n")[0], files, form)
    write_text(Path(folder) / README, readme)


def check(folder: str | Path, title: str, files: Sequence[str], form: str) -> None:
    """Refuses a folder whose files an export would replace or contradict.

    Args:
      folder, files, form: as for ``claim``.
      title: first line of the README.

    Raises:
      UserError: as ``claim``.
    """
    folder = Path(folder)
    check_folder(folder)
    if (folder / run_folder.TRAINABLE).exists() or (
        folder / run_folder.FROZEN
    ).exists():
        raise UserError(f"{folder} is a run folder: export to another, new folder")
    if not folder.exists():
        return
    readme, written = folder / README, (README, *files)
    with writing(folder):
        others = sorted({x.name for x in folder.iterdir()} - set(written))
        is_export = readme.is_file() and readme.read_bytes().startswith(
            f"{title}\n".encode()
        )
    if not is_export:
        others += [name for name in written if (folder / name).exists()]
    if others:
        raise UserError(
            f"{folder} has {others[0]}, which no export with --format {form} wrote: "
            "export to a new or an empty folder"
        )
