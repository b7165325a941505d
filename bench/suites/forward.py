"""The plain lookup's forward alone."""

from __future__ import annotations

from ..indices import DISTRIBUTIONS
from ..problems import LookupForward, Problem
from .base import Axis, Cell, Context, Suite, sizes


class Forward(Suite):
    name = "forward"
    title = "plain lookup, forward alone"
    axes = (
        sizes("width", (8, 32, 128, 256), (32,)),
        sizes("rows", (1000, 100_000, 1_000_000), (1000,)),
        sizes("indices", (32, 1024, 16384, 262_144, 1_048_576), (32, 4096)),
        Axis("distribution", ("uniform", "power_law_1.05"), ("uniform",), tuple(DISTRIBUTIONS)),
    )
    quantity = "indices"

    def build(self, cell: Cell, context: Context) -> Problem:
        generator = context.generator(cell)
        draw = DISTRIBUTIONS[cell["distribution"]]
        indices = draw(cell["rows"], cell["indices"], generator).to(context.index_dtype)
        return LookupForward(context.table(cell["rows"], cell["width"]), indices)

    def memory_bytes(self, cell: Cell, context: Context) -> int:
        return cell["width"] * (cell["rows"] + 3 * cell["indices"]) * context.dtype.itemsize
