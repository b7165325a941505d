"""Rows of benchmarks as they stand in files, without measuring anything."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from bench.records import Row, Writer, columns, read
from bench.suites import SUITES

USUAL = {
    "device": "cuda",
    "dtype": "float32",
    "index_dtype": "int64",
    "deterministic": "no",
    "shapes": "dynamic",
    "repetitions": "7",
    "method": "graph",
    "copy_tbps": "3",
    "fill_tbps": "3",
    "read_tbps": "3",
    "floor_us": "4",
    "gpu": "NVIDIA H100",
    "time": "2026-01-02T03:04:05Z",
    "commit": "abc",
    "dirty": "no",
}


def write(
    folder: Path,
    suite: str,
    times: Mapping[str, Callable[[dict[str, str]], float | None]],
    filters: Mapping[str, list[str]] | None = None,
    **more: object,
) -> list[Row]:
    """The rows of a suite's cells, with each peer's time of a cell in microseconds; None for a cell
    that the peer has no row of. They are added to the suite's file in the folder.
    """
    path = folder / f"{suite}.csv"
    writer = Writer(path, columns([axis.name for axis in SUITES[suite].axes]))
    for cell, peer in itertools.product(_cells(suite, filters), times):
        us = times[peer](cell)
        if us is not None:
            row = {
                **USUAL,
                "suite": suite,
                "peer": peer,
                **cell,
                "device_us": us,
                "wall_us": 2 * us,
            }
            extra = {k: v(cell, us) if callable(v) else v for k, v in more.items()}
            writer.append({"roofline_us": 50.0, "rows_tbps": 1.0, **row, **extra})
    return read(path)


def _cells(suite: str, filters: Mapping[str, list[str]] | None) -> Iterator[dict[str, str]]:
    for cell in SUITES[suite].cells(False, filters):
        yield {name: f"{v:g}" if isinstance(v, float) else str(v) for name, v in cell.items()}
