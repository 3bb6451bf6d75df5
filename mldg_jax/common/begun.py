"""Tells a run from what is left of a training that failed before its first step."""

from pathlib import Path

LEFT = {"config.json", "frozen.json", "metrics.jsonl", "checkpoints", "tensorboard"}
"""What a training writes before its first step; the log is then empty."""


def has_begun(workdir: Path) -> bool:
    """Returns True if a run folder has anything that training made.

    Args:
      workdir: the run folder; it need not exist.

    Returns:
      False if it has no checkpoint, no log line, no result and no file of anyone else,
      so that nothing is lost with its config.json.
    """
    if not workdir.is_dir():
        return False
    log = workdir / "metrics.jsonl"
    return (
        any(path.name not in LEFT for path in workdir.iterdir())
        or (log.exists() and log.stat().st_size > 0)
        or any(path.name.isdigit() for path in (workdir / "checkpoints").glob("*"))
    )
