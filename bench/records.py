"""Rows of results as CSV files, one per suite, written as they come."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

# A row is identified by its suite's axes and these; what follows describes where it was measured
# and what was found.
IDENTITY = ("suite", "peer", "device", "dtype", "index_dtype", "deterministic", "shapes")
MEASURES = (
    "device_us",
    "device_p20_us",
    "device_p80_us",
    "repetitions",
    "method",
    "wall_us",
    "wall_p20_us",
    "wall_p80_us",
    "first_call_s",
    "compilations",
    "peak_mb",
    "error_share",
    "bytes_read",
    "bytes_written",
    "roofline_us",
    "rows_tbps",
)
CEILINGS = ("copy_tbps", "fill_tbps", "read_tbps", "floor_us")
ENVIRONMENT = ("time", "gpu", "driver", "cuda", "torch", "python", "commit", "dirty")
NOT_AXES = frozenset((*IDENTITY, *MEASURES, *CEILINGS, *ENVIRONMENT))

Row = dict[str, str]


class RecordsError(Exception):
    """A file of rows that cannot be read or continued."""


def columns(axes: Sequence[str]) -> list[str]:
    """The header of a suite's file."""
    return [*IDENTITY, *axes, *MEASURES, *CEILINGS, *ENVIRONMENT]


def axes_of(rows: Iterable[Row]) -> list[str]:
    """The axes of a suite, from its rows."""
    first = next(iter(rows), {})
    return [name for name in first if name not in NOT_AXES]


def key(row: Mapping[str, object]) -> tuple[tuple[str, str], ...]:
    """What makes a row this row: the same in every run of the same cell by the same peer."""
    names = [n for n in row if n not in MEASURES and n not in CEILINGS and n not in ENVIRONMENT]
    return tuple((name, text(row[name])) for name in sorted(names))


def text(value: object) -> str:
    """Numbers with five significant digits, so that files stay small and comparable."""
    if isinstance(value, float):
        return f"{value:.5g}"
    return str(value)


class Writer:
    """Appends rows to a file, each on disk before the next is measured."""

    def __init__(self, path: Path, header: Sequence[str]) -> None:
        self.path = path
        self._header = list(header)
        if path.exists():
            _drop_partial_line(path)
            with path.open(newline="") as file:
                found = next(csv.reader(file), [])
            if found != self._header:
                raise RecordsError(
                    f"{path} has other columns than this version writes; choose another --out"
                )
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("w", newline="") as file:
                csv.writer(file, lineterminator="\n").writerow(self._header)

    def append(self, row: Mapping[str, object]) -> None:
        with self.path.open("a", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow([text(row.get(name, "")) for name in self._header])


def _drop_partial_line(path: Path) -> None:
    """What an interruption in the middle of a write left behind."""
    with path.open("rb+") as file:
        content = file.read()
        file.truncate(content.rfind(b"\n") + 1)


def read(path: Path) -> list[Row]:
    """All rows of one file.

    Raises:
        RecordsError: there is no such file, or it is no file of rows.
    """
    if not path.is_file():
        raise RecordsError(f"{path}: no such file")
    with path.open(newline="") as file:
        reader = csv.DictReader(file)
        if not set(IDENTITY) <= set(reader.fieldnames or ()):
            raise RecordsError(f"{path} is not a file of benchmark rows")
        return [row for row in reader if row["dirty"]]


def read_all(path: Path) -> dict[str, list[Row]]:
    """The rows of a file, or of every suite's file in a folder, by suite.

    Raises:
        RecordsError: nothing to read there.
    """
    if path.is_file():
        files = [path]
    else:
        names = sorted(path.glob("*.csv")) if path.is_dir() else []
        files = [name for name in names if "." not in name.stem]
    if not files:
        raise RecordsError(f"{path}: no benchmark rows there")
    rows = {file.stem: read(file) for file in files}
    return {found[0]["suite"]: found for found in rows.values() if found}
