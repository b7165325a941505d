"""The commands that made a folder of results, kept beside them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

FILE = "commands.txt"


def remember(folder: Path, arguments: Sequence[str]) -> None:
    """Adds a command line, if it is not there yet."""
    line = command_line(arguments)
    known = of(folder)
    if line not in known:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / FILE).write_text("".join(f"{text}\n" for text in [*known, line]))


def of(folder: Path) -> list[str]:
    """All of them, in the order in which they were first given."""
    path = folder / FILE
    return path.read_text().splitlines() if path.is_file() else []


def command_line(arguments: Sequence[str]) -> str:
    """Paths of this machine are cut down to their last part: they say nothing elsewhere."""
    return " ".join(["python -m bench", *map(_without_folders, arguments)])


def _without_folders(argument: str) -> str:
    option, equals, value = argument.rpartition("=")
    return option + equals + (os.path.basename(value) if os.path.isabs(value) else value)
