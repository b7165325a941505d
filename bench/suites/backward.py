"""Dense gradients alone: what the backward kernels are tuned on."""

from __future__ import annotations

import torch

from ..indices import DISTRIBUTIONS, offsets_of, power_law_lengths
from ..problems import BagBackward, LookupBackward, Problem
from .base import Axis, Cell, Context, Suite, sizes


class Backward(Suite):
    name = "backward"
    title = "dense gradient of a plain lookup, alone"
    axes = (
        sizes("width", (8, 32, 128, 256), (32,)),
        sizes("rows", (10, 100, 1000, 10_000, 100_000, 1_000_000), (10, 10_000)),
        sizes("indices", (32, 512, 1024, 4096, 16384, 65536, 262_144), (32, 4096)),
        Axis("distribution", tuple(DISTRIBUTIONS), ("uniform", "same_index")),
    )
    peers_quick = ("torch_eager", "inductor", "embed_ops")
    quantity = "indices"

    def build(self, cell: Cell, context: Context) -> Problem:
        generator = context.generator(cell)
        draw = DISTRIBUTIONS[cell["distribution"]]
        indices = draw(cell["rows"], cell["indices"], generator).to(context.index_dtype)
        return LookupBackward(cell["rows"], cell["width"], indices, context.dtype, generator)

    def memory_bytes(self, cell: Cell, context: Context) -> int:
        return cell["width"] * (3 * cell["rows"] + 4 * cell["indices"]) * context.dtype.itemsize


class BagBackwardSuite(Suite):
    """``layout=fixed`` has ``hotness`` lookups in every bag; ``layout=csr`` lengths by a power law
    from 1 to 8 x hotness."""

    name = "bag_backward"
    title = "dense gradient of a pooled lookup, alone: sum, mean and weighted sum"
    axes = (
        sizes("width", (32, 128), (32,)),
        sizes("rows", (1000, 100_000, 1_000_000), (1000,)),
        Axis("reduce", ("sum", "mean", "weighted"), ("sum", "mean", "weighted")),
        Axis("layout", ("fixed", "csr"), ("fixed", "csr")),
        sizes("hotness", (1, 16, 64), (4,)),
        sizes("batch", (1024, 32768), (64,)),
        Axis("distribution", ("uniform", "power_law_1.05"), ("uniform",), tuple(DISTRIBUTIONS)),
    )
    quantity = "batch"

    def build(self, cell: Cell, context: Context) -> Problem:
        generator = context.generator(cell)
        batch, hotness = cell["batch"], cell["hotness"]
        offsets = None
        count = batch * hotness
        if cell["layout"] == "csr":
            offsets = offsets_of(power_law_lengths(batch, hotness, generator))
            count = int(offsets[-1])
        draw = DISTRIBUTIONS[cell["distribution"]]
        indices = draw(cell["rows"], count, generator).to(context.index_dtype)
        if offsets is None:
            indices = indices.reshape(batch, hotness)
        else:
            offsets = offsets.to(context.index_dtype)
        weights = None
        if cell["reduce"] == "weighted":
            weights = torch.rand(indices.shape, generator=generator, device=context.device) + 0.5
            weights = weights.to(context.dtype)
        return BagBackward(
            cell["rows"],
            cell["width"],
            indices,
            offsets,
            "mean" if cell["reduce"] == "mean" else "sum",
            weights,
            context.dtype,
            generator,
        )

    def memory_bytes(self, cell: Cell, context: Context) -> int:
        lookups = cell["batch"] * cell["hotness"] * (2 if cell["layout"] == "csr" else 1)
        return 3 * cell["width"] * (cell["rows"] + lookups) * context.dtype.itemsize + 64 * lookups
