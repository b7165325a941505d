"""FastEmbedding's benchmark: forward + backward of one lookup."""

from __future__ import annotations

from ..indices import DISTRIBUTIONS
from ..problems import LookupStep, Problem
from .base import Axis, Cell, Context, Suite, sizes

BATCHES = (32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 65536, 262144)


class FastEmbeddingSuite(Suite):
    """``head=linear`` is the published step: lookup, Linear(width, 1), sum, backward. ``head=none``
    (by filter) leaves the Linear out and starts the backward from a given gradient."""

    name = "fast_embedding"
    title = "FastEmbedding's grid: lookup forward + backward"
    axes = (
        Axis("head", ("linear",), ("linear",), more=("none",)),
        sizes("width", (8, 32, 128, 256), (32,)),
        sizes("rows", (10, 100, 1000, 10_000, 100_000, 1_000_000), (10, 10_000)),
        sizes("batch", BATCHES, (32, 4096)),
        Axis("distribution", tuple(DISTRIBUTIONS), ("uniform", "half_pow_k")),
    )
    peers_quick = ("torch_eager", "inductor", "embed_ops")
    quantity = "batch"

    def build(self, cell: Cell, context: Context) -> Problem:
        generator = context.generator(cell)
        draw = DISTRIBUTIONS[cell["distribution"]]
        indices = draw(cell["rows"], cell["batch"], generator).to(context.index_dtype)
        table = context.table(cell["rows"], cell["width"])
        return LookupStep(table, indices, cell["head"] == "linear", generator)

    def memory_bytes(self, cell: Cell, context: Context) -> int:
        return cell["width"] * (4 * cell["rows"] + 8 * cell["batch"]) * context.dtype.itemsize
