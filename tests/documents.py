"""Reads the Markdown of the README and of docs/: code blocks, commands, links."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
DOCS = ROOT / "docs"
PAGES = sorted(
    path for path in DOCS.rglob("*.md") if not {"_build", "notebooks"} & {*path.parts}
)
SHELLS = ("bash", "sh", "shell", "console")
_MARKDOWN = MarkdownIt("commonmark").enable("table")


class Block(NamedTuple):
    """A block of code.

    Attributes:
      language: "python", "bash", …; "" of an indented block.
      text: the code.
      line: the line of the file that it begins on.
    """

    language: str
    text: str
    line: int


class Link(NamedTuple):
    """A link to a file of the repository.

    Attributes:
      path: relative to the page; "" for a heading of the page itself.
      heading: after the #; "" for none.
    """

    path: str
    heading: str


def blocks(path: Path) -> list[Block]:
    """Returns the blocks of code of a page.

    Args:
      path: of the Markdown file.
    """
    tokens = _MARKDOWN.parse(path.read_text(encoding="utf-8"))
    return [
        Block(token.info.strip(), token.content, token.map[0] + 1)
        for token in tokens
        if token.type in ("fence", "code_block")
    ]


def shell_lines(text: str) -> list[list[str]]:
    """Returns the words of each command of a shell block, without comments.

    Args:
      text: of the block. A line that ends in a backslash continues; a pipe, a
        redirection or && ends a command.
    """
    commands = []
    for line in text.replace("\\\n", " ").splitlines():
        reader = shlex.shlex(line, posix=True, punctuation_chars=";&|<>")
        reader.whitespace_split = True
        words = [*reader]
        while words:
            end = next(
                (i for i, word in enumerate(words) if word[0] in ";&|<>"), len(words)
            )
            commands.append(words[:end])
            redirects = words[end : end + 1] and words[end][0] in "<>"
            words = words[end + (2 if redirects else 1) :]
    return [command for command in commands if command]


def commands(path: Path) -> list[list[str]]:
    """Returns the ``mldg`` commands of a page: of blocks and of whole inline codes.

    Args:
      path: of the Markdown file.
    """
    words = [
        words
        for block in blocks(path)
        if block.language in (*SHELLS, "")
        for words in shell_lines(block.text)
    ]
    words += [shlex.split(code) for code in _inline(path, "code_inline")]
    names = ("mldg", ".venv/bin/mldg")
    return [x[1:] for x in words if x and x[0] in names and len(x) > 1]


def _inline(path: Path, kind: str) -> Iterator[str]:
    for token in _MARKDOWN.parse(path.read_text(encoding="utf-8")):
        for child in token.children or ():
            if child.type == kind and child.content.startswith("mldg "):
                yield child.content


def links(path: Path) -> list[Link]:
    """Returns the links of a page, images too, that stay in the repository.

    Args:
      path: of the Markdown file.
    """
    targets = [
        str(child.attrs.get("href") or child.attrs.get("src"))
        for token in _MARKDOWN.parse(path.read_text(encoding="utf-8"))
        for child in token.children or ()
        if child.type in ("link_open", "image")
    ]
    return [
        Link(*target.partition("#")[::2])
        for target in targets
        if not re.match(r"[a-z]+:", target)
    ]


def headings(path: Path) -> set[str]:
    """Returns the names that links use for the headings of a page.

    Args:
      path: of the Markdown file.
    """
    tokens = _MARKDOWN.parse(path.read_text(encoding="utf-8"))
    titles = [
        "".join(x.content for x in tokens[i + 1].children or ())
        for i, token in enumerate(tokens)
        if token.type == "heading_open"
    ]
    return {re.sub(r"[^\w\- ]", "", x.lower()).replace(" ", "-") for x in titles}
