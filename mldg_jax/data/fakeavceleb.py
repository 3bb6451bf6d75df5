"""Reads the lines of FakeAVCeleb's table, whose header may differ."""

from pathlib import PurePosixPath

TYPES = [f"{x}Video-{y}Audio" for x in ("Real", "Fake") for y in ("Real", "Fake")]


def columns(cells: dict[str, str]) -> list[str] | None:
    """Derives the columns of an utterance from a line of the table.

    The folder and the file are recognised by their form, wherever they are, because the
    official header has no name for the column of the folder.

    Args:
      cells: the cells of the line by the header's names.

    Returns:
      Utterance (TYPE/RACE/GENDER/ID/FILE.mp4), label (that of the audio, from the type
      of the video), attack, speaker and race; None if the line lacks a source, a type
      or a file.
    """
    folder, file = PurePosixPath(), cells.get("path", "")
    for cell in cells.values():
        path = PurePosixPath(cell)
        types = [i for i, part in enumerate(path.parts) if part in TYPES]
        if types and "/" in cell:
            folder = PurePosixPath(*path.parts[types[0] :])
        if cell.lower().endswith(".mp4"):
            file = path.name
    kind = cells.get("type") or (folder.parts or [""])[0]
    if not (kind and file and "source" in cells):
        return None
    path = folder if folder.name == file else folder / file
    method, race = cells.get("method", ""), cells.get("race", "")
    return [str(path), kind.rpartition("-")[2], method, cells["source"], race]
