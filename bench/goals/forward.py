"""Plain and many-table lookups: at the speed of a copy, and never behind."""

from __future__ import annotations

from collections.abc import Iterator

from .. import contrast
from .base import Goal, View

LARGE_OUTPUT = 64e6
# A call that keeps the host busy for this much longer than the device.
HOST_BOUND = 1.5


def plain(view: View) -> Iterator[Goal]:
    if view.usual:
        # Every row is read and written, those that caches hold too.
        copied = {cell: 2 * rate for cell, rate in view.times("rows_tbps").items()}
        shares = contrast.quotients(copied, view.times("copy_tbps"))
        written = view.times("bytes_written")
        large = {cell: v for cell, v in shares.items() if written[cell] >= LARGE_OUTPUT}
        yield from view.least_of("share of the copy ceiling, outputs >= 64 MB", large, 0.95)


def pooled_tables(view: View) -> Iterator[Goal]:
    if view.usual:
        yield from view.never_slower("fbgemm", view.speedups("fbgemm"))
        theirs = contrast.quotients(
            view.group.column("fbgemm", "wall_us"), view.group.column("fbgemm", "device_us")
        )
        bound = {cell for cell, ratio in theirs.items() if ratio >= HOST_BOUND}
        wall = view.speedups("fbgemm", "wall_us")
        chosen = {cell: value for cell, value in wall.items() if cell in bound}
        yield from view.mean_of("wall time against fbgemm where its host is slower", chosen, 3.0)
