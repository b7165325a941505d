"""Widths that vectors do not divide, beside their aligned neighbours."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from torch import Tensor

from ..indices import uniform
from ..problems import BagBackward, BagForward, LookupBackward, LookupForward, Problem
from .base import Axis, Cell, Context, Suite, sizes

OPS = ("forward", "backward", "bag_forward", "bag_backward")
NEIGHBOURS = ("below", "above")
HOTNESS = 16


class OddWidths(Suite):
    """``case`` is the width itself, the next aligned width below or above it, or the width itself
    in a tensor that begins one element past an aligned address (the table, or the gradient that
    comes in). All cases of a width have the same lookups: as many as make up ``values`` numbers, in
    a table with a quarter as many rows.
    """

    name = "odd_widths"
    title = "odd widths and unaligned rows against their aligned neighbours"
    axes = (
        Axis("op", OPS, OPS),
        sizes("around", (1, 3, 17, 33, 100, 300, 1000, 4096), (3, 33)),
        Axis("case", ("itself", *NEIGHBOURS, "unaligned"), ("itself", *NEIGHBOURS, "unaligned")),
        sizes("values", (1 << 26,), (1 << 14,)),
    )
    peers = ("embed_ops",)
    peers_quick = ("embed_ops",)

    def cells(self, quick: bool, filters: Mapping[str, list[str]] | None = None) -> Iterator[Cell]:
        """Without those whose width would be 0."""
        return (cell for cell in super().cells(quick, filters) if width_of(cell) > 0)

    def build(self, cell: Cell, context: Context) -> Problem:
        generator = context.generator({**cell, "case": "any"})
        lookups = _lookups(cell)
        rows, width = max(lookups // 4, 1), width_of(cell)
        indices = uniform(rows, lookups, generator).to(context.index_dtype)
        bags = indices.reshape(-1, HOTNESS)
        aligned = cell["case"] != "unaligned"
        if cell["op"].endswith("forward"):
            table = context.table(rows, width)
            table = table if aligned else _unaligned(table)
            return (
                LookupForward(table, indices)
                if cell["op"] == "forward"
                else BagForward(table, bags)
            )
        problem: LookupBackward | BagBackward
        if cell["op"] == "backward":
            problem = LookupBackward(rows, width, indices, context.dtype, generator)
        else:
            problem = BagBackward(rows, width, bags, None, "sum", None, context.dtype, generator)
        if not aligned:
            problem.grad = _unaligned(problem.grad)
        return problem

    def memory_bytes(self, cell: Cell, context: Context) -> int:
        return 8 * max(_lookups(cell) * width_of(cell), cell["values"]) * context.dtype.itemsize


def width_of(cell: Cell) -> int:
    """Aligned are multiples of 4 and, from 32 on, of 32: whole vectors, and whole cache lines."""
    around = cell["around"]
    step = 4 if around < 32 else 32
    if cell["case"] == "below":
        return (around - 1) // step * step
    return (around // step + 1) * step if cell["case"] == "above" else around


def _lookups(cell: Cell) -> int:
    # The narrowest have no more than width 16 would have, and all make up whole bags.
    return max(cell["values"] // max(cell["around"], 16) // HOTNESS, 1) * HOTNESS


def _unaligned(rows: Tensor) -> Tensor:
    """The same rows, all of them one element further on in memory."""
    moved = rows.new_empty(rows.numel() + 1)[1:].view(rows.shape)
    return moved.copy_(rows)
