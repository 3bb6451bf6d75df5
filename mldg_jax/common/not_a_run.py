"""Says what a path is that was given as a run, and what to give instead."""

from pathlib import Path

from mldg_jax.common.errors import UserError

CONFIG = "config.json"  # every run folder has one


def refusal(path: str | Path) -> UserError:
    """Returns the error for a path without a ``config.json``.

    Args:
      path: what was given as a run.

    Returns:
      The error. It names a run if the path is a folder of runs.
    """
    if Path(path).is_file():
        return UserError(
            f"{path} is a file, not a run folder; the run comes first, e.g. "
            "runs/demo/mldg-0"
        )
    runs = runs_in(path)
    if runs:
        shown = ", ".join(map(str, runs[:3])) + ", …" * (len(runs) > 3)
        return UserError(
            f"{path} is not a run folder, but a folder of runs: give one of them "
            f"({shown})"
        )
    return UserError(
        f"{path} is not a run folder (it has no {CONFIG}); create one with "
        "`mldg demo` or `mldg train`"
    )


def runs_in(folder: str | Path) -> list[Path]:
    """Lists the runs in a folder.

    Args:
      folder: any path; it need not exist.

    Returns:
      Its subfolders that have a ``config.json``, by name.
    """
    try:
        return sorted(path.parent for path in Path(folder).glob(f"*/{CONFIG}"))
    except OSError:  # a folder that may not be listed
        return []
