"""A recommender's lookups: 26 tables, one bag per table and sample."""

from __future__ import annotations

import torch

from ..indices import DISTRIBUTIONS
from ..problems import PooledTables, Problem
from .base import Axis, Cell, Context, Suite, sizes


class PooledTablesSuite(Suite):
    name = "pooled_tables"
    title = "26 tables, one summed bag per table and sample, forward alone"
    axes = (
        sizes("tables", (26,), (3,)),
        sizes("rows", (100_000, 1_000_000), (1000,)),
        sizes("width", (128,), (16,)),
        sizes("hotness", (1, 20), (1, 4)),
        sizes("batch", (512, 2048, 8192, 65536), (64,)),
        Axis("distribution", ("uniform", "power_law_1.05"), ("uniform",), tuple(DISTRIBUTIONS)),
    )
    peers = ("torch_eager", "fbgemm", "embed_ops", "embed_ops_list")
    peers_quick = ("torch_eager", "embed_ops", "embed_ops_list")
    quantity = "batch"

    def build(self, cell: Cell, context: Context) -> Problem:
        generator = context.generator(cell)
        count, hotness = cell["tables"], cell["hotness"]
        lookups = cell["batch"] * hotness
        draw = DISTRIBUTIONS[cell["distribution"]]
        columns = [draw(cell["rows"], lookups, generator) for _ in range(count)]
        bags = count * cell["batch"]
        offsets = torch.arange(bags + 1, device=context.device) * hotness
        tables = context.tables([cell["rows"]] * count, [cell["width"]] * count)
        indices = torch.cat(columns).to(context.index_dtype)
        return PooledTables(tables, indices, offsets.to(context.index_dtype))

    def memory_bytes(self, cell: Cell, context: Context) -> int:
        width, batch = cell["width"], cell["batch"]
        tables = 2 * cell["rows"] * width * context.dtype.itemsize
        return cell["tables"] * (
            tables + batch * (width * 3 * context.dtype.itemsize + 24 * cell["hotness"])
        )
