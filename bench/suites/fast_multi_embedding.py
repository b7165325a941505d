"""FastMultiEmbedding's benchmark: many tables of different widths, looked up and put side by
side."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from ..indices import DISTRIBUTIONS
from ..problems import MultiForward, MultiStep, Problem
from .base import Axis, Cell, Context, Suite, sizes

# Widths of the tables; their rows are 1000, 5000, 10000, 50000 and again.
TABLE_SETS = {
    "10xs": (1, 2, 4, 8, 1, 2, 4, 8, 1, 2),
    "20xs": (2, 4, 8) * 6 + (2, 4),
    "5s_5l": (4, 8, 16, 24, 32, 64, 96, 128, 192, 256),
    "5l_5s": (256, 192, 128, 96, 64, 32, 24, 16, 8, 4),
    "5s_5l_random": (8, 96, 16, 32, 128, 64, 24, 256, 192, 4),
    "10s_10l_random": (
        *(256, 4, 24, 96, 192, 64, 4, 128, 16, 64),
        *(32, 128, 96, 24, 32, 256, 192, 8, 16, 8),
    ),
    "10s": (16, 8, 4, 24, 16, 24, 32, 8, 32, 4),
    "10s_uneven": (17, 9, 5, 25, 17, 25, 33, 9, 33, 5),
    "20s": (16, 8, 4, 24, 16, 24, 32, 8, 32, 4) * 2,
    "10l": (128, 256, 64, 192, 256, 128, 96, 192, 64, 96),
    "10s_1l": (16, 8, 256, 4, 24, 16, 24, 32, 8, 32, 4),
}
ROWS = (1000, 5000, 10_000, 50_000)
# Small means a width of at most this in the last two mixes.
SMALL_WIDTH = 32
# Distributions of (tables of even and odd position) or, for the last two, (small, large).
MIXES = {
    "uniform": ("uniform", "uniform"),
    "half_binomial": ("half_binomial", "half_binomial"),
    "half_pow_k": ("half_pow_k", "half_pow_k"),
    "alternate_binomial": ("uniform", "half_binomial"),
    "alternate_pow_k": ("uniform", "half_pow_k"),
    "large_binomial": ("uniform", "half_binomial"),
    "small_binomial": ("half_binomial", "uniform"),
}
BY_WIDTH = ("large_binomial", "small_binomial")


class FastMultiEmbeddingSuite(Suite):
    """``part=step`` is the published forward + backward with its Linear; ``part=forward`` (by
    filter) the lookup alone."""

    name = "fast_multi_embedding"
    title = "FastMultiEmbedding's grid: eleven sets of tables, seven mixes of distributions"
    axes = (
        Axis("part", ("step",), ("step",), more=("forward",)),
        Axis("tables", tuple(TABLE_SETS), ("10xs", "10s_1l")),
        sizes("batch", (64, 256, 1024, 4096, 16384), (64, 1024)),
        Axis("mix", tuple(MIXES), ("uniform", "large_binomial")),
    )
    peers = (
        "torch_eager",
        "inductor",
        "inductor_cudagraphs",
        "embed_ops",
        "embed_ops_compiled",
        "embed_ops_cudagraphs",
    )
    quantity = "batch"

    def build(self, cell: Cell, context: Context) -> Problem:
        generator = context.generator(cell)
        widths = list(TABLE_SETS[cell["tables"]])
        rows = (list(ROWS) * len(widths))[: len(widths)]
        indices = multi_indices(rows, widths, cell["batch"], cell["mix"], generator)
        indices = indices.to(context.index_dtype)
        tables = context.tables(rows, widths)
        if cell["part"] == "forward":
            return MultiForward(tables, indices)
        return MultiStep(tables, indices, generator)


def multi_indices(
    rows: list[int], widths: list[int], batch: int, mix: str, generator: Generator
) -> Tensor:
    """(batch, n): each table's column from the distribution that the mix gives it."""
    columns = []
    for position, (count, width) in enumerate(zip(rows, widths, strict=True)):
        second = width > SMALL_WIDTH if mix in BY_WIDTH else position % 2 == 1
        columns.append(DISTRIBUTIONS[MIXES[mix][second]](count, batch, generator))
    return torch.stack(columns, 1)
