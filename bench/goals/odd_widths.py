"""Odd widths and unaligned rows: in proportion to the bytes that they move."""

from __future__ import annotations

from collections.abc import Iterator

from ..contrast import Times
from ..suites.odd_widths import NEIGHBOURS, OPS
from .base import Goal, View

WITHIN = 1.25


def neighbours(view: View) -> Iterator[Goal]:
    for op in OPS:
        for text, values in against_neighbours(view).items():
            chosen = view.group.only(values, op=op)
            yield from view.least_of(f"{op} against {text}", chosen, 1.0 / WITHIN)


def against_neighbours(view: View) -> dict[str, Times]:
    """Time per byte of the neighbour / time per byte: 1 where bytes are all that counts."""
    rooflines = view.times("roofline_us")
    per_byte = {cell: time / rooflines[cell] for cell, time in view.times().items()}
    found = {
        f"the aligned width {side}": view.group.across(per_byte, "case", side, "itself")
        for side in NEIGHBOURS
    }
    found["itself aligned"] = view.group.across(per_byte, "case", "itself", "unaligned")
    return found
