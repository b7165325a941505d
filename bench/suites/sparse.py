"""Sparse gradients: compressed gradients on cuEmbed's sweep, and whole steps with SGD."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..indices import power_law
from ..problems import CompressedBackward, Problem, SparseStep
from .base import Axis, Cell, Context, Suite, sizes
from .cuembed import bags

# What belongs to each part, on the axes that they do not share.
PARTS: dict[str, dict[str, tuple[Any, ...]]] = {
    # cuEmbed's sweep: index transforms and gradient together.
    "gradient": {
        "rows": (1_000_000, 10_000_000),
        "batch": (1024, 32768, 131_072),
        "gradient": ("sparse",),
    },
    # One training step of a plain lookup.
    "step": {
        "width": (128,),
        "hotness": (1,),
        "alpha": (1.05,),
        "batch": (65536,),
        "count": ("read",),
    },
}


class Sparse(Suite):
    """``part=gradient``: grad -> (values, rows). The number of rows is either ``known`` to the
    caller, as cuEmbed's own benchmark has it, or ``read`` from the device, with the wait for it.
    ``part=step``: lookup, backward, SGD, with a sparse or with a dense gradient."""

    name = "sparse"
    title = "sparse gradients: transpose + compress + gradient, and steps with SGD"
    axes = (
        Axis("part", ("gradient", "step"), ("gradient", "step")),
        sizes("width", (32, 128), (32,)),
        sizes("rows", (10_000, 100_000, 1_000_000, 10_000_000), (1000,)),
        sizes("hotness", (1, 16, 64), (1, 4)),
        Axis("alpha", (0.0, 1.05, 1.15), (0.0, 1.05), free=True),
        sizes("batch", (1024, 32768, 65536, 131_072), (64,)),
        Axis("count", ("known", "read"), ("known", "read")),
        Axis("gradient", ("sparse", "dense"), ("sparse", "dense")),
    )
    peers = ("torch_eager", "cuembed", "embed_ops", "embed_ops_compiled")
    peers_quick = ("torch_eager", "embed_ops", "embed_ops_compiled")
    quantity = "batch"

    def cells(self, quick: bool, filters: Mapping[str, list[str]] | None = None) -> Iterator[Cell]:
        for cell in super().cells(quick, filters):
            own = PARTS[cell["part"]]
            axes = set(own) - set(filters or {})
            if quick:
                axes &= {"hotness", "count", "gradient"}  # the others have sizes of their own
            if all(cell[axis] in own[axis] for axis in axes):
                yield cell

    def build(self, cell: Cell, context: Context) -> Problem:
        # Whatever is done with a point's indices, they are the same.
        point = {name: cell[name] for name in ("rows", "hotness", "alpha", "batch")}
        generator = context.generator(point)
        rows, width = cell["rows"], cell["width"]
        if cell["part"] == "step":
            indices = power_law(rows, cell["batch"], generator, cell["alpha"])
            table = context.table(rows, width)
            sparse = cell["gradient"] == "sparse"
            return SparseStep(table, indices.to(context.index_dtype), sparse, generator)
        context.release()
        indices, _ = bags(cell, "fixed", context)
        return CompressedBackward(
            rows,
            width,
            indices,
            None,
            cell["count"] == "known",
            context.dtype,
            generator,
        )

    def memory_bytes(self, cell: Cell, context: Context) -> int:
        lookups = cell["batch"] * cell["hotness"]
        row_bytes = cell["width"] * context.dtype.itemsize
        if cell["part"] == "step":
            return (5 * cell["rows"] + 12 * lookups) * row_bytes
        named = min(cell["rows"], lookups)
        return (4 * named + 2 * cell["batch"]) * row_bytes + (16 * named + 128 * lookups) * 8
