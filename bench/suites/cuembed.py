"""cuEmbed's benchmarks: its published pooled forward, and the sweep that its repository runs."""

from __future__ import annotations

from torch import Generator, Tensor

from ..indices import distinct_bags, offsets_of, power_law, power_law_lengths, uniform_lengths
from ..problems import BagBackward, BagForward, Problem
from .base import Axis, Cell, Context, Suite, sizes

# fixed: (B, h). csr: the same bags with offsets. csr_uniform: lengths 0 ... h, as cuEmbed's own CSR
# inputs. csr_power_law: lengths 1 ... 8 h, mostly short.
LAYOUTS = ("fixed", "csr", "csr_uniform", "csr_power_law")
BATCHES = (512, 1024, 2048, 4096, 8192, 16384, 32768, 65536, 131_072)


class CuEmbedForward(Suite):
    name = "cuembed_forward"
    title = "cuEmbed's published forward: sums of 64 rows, rows read in TB/s"
    axes = (
        sizes("rows", (10_000_000,), (10_000,)),
        sizes("width", (32, 64, 128), (32,)),
        sizes("hotness", (64,), (8,)),
        Axis("alpha", (0.0, 1.05), (0.0, 1.05), free=True),
        sizes("batch", BATCHES, (64, 256)),
        Axis("layout", ("fixed", "csr"), ("fixed", "csr"), more=LAYOUTS),
    )
    peers = ("torch_eager", "inductor", "cuembed", "fbgemm", "embed_ops")
    quantity = "batch"

    def build(self, cell: Cell, context: Context) -> Problem:
        generator = context.generator(cell)
        indices, offsets = bags(cell, cell["layout"], generator)
        table = context.table(cell["rows"], cell["width"])
        return BagForward(
            table,
            indices.to(context.index_dtype),
            None if offsets is None else offsets.to(context.index_dtype),
        )

    def memory_bytes(self, cell: Cell, context: Context) -> int:
        return cell["rows"] * (cell["width"] * context.dtype.itemsize + 16) + _index_bytes(cell)


class CuEmbedSweep(Suite):
    """The forward is timed as cuEmbed does. The backward here is the whole of it, index
    transposition included, into a full gradient; cuEmbed's sweep reports its two stages apart."""

    name = "cuembed_sweep"
    title = "cuEmbed's own sweep, forward and backward: alpha x rows x width x batch x hotness"
    axes = (
        Axis("direction", ("forward", "backward"), ("forward", "backward")),
        sizes("rows", (1_000_000, 10_000_000), (10_000,)),
        sizes("width", (32, 128), (32,)),
        sizes("hotness", (1, 16, 64), (1, 16)),
        Axis("alpha", (0.0, 1.05, 1.15), (0.0, 1.15), free=True),
        sizes("batch", (1024, 32768, 131_072), (64,)),
        Axis("layout", ("fixed",), ("fixed",), more=LAYOUTS),
    )
    quantity = "batch"

    def build(self, cell: Cell, context: Context) -> Problem:
        # Both directions of a point have the same indices.
        point = {name: value for name, value in cell.items() if name != "direction"}
        generator = context.generator(point)
        indices, offsets = bags(cell, cell["layout"], generator)
        indices = indices.to(context.index_dtype)
        if offsets is not None:
            offsets = offsets.to(context.index_dtype)
        rows, width = cell["rows"], cell["width"]
        if cell["direction"] == "forward":
            return BagForward(context.table(rows, width), indices, offsets)
        context.release()
        dtype = context.dtype
        return BagBackward(rows, width, indices, offsets, "sum", None, dtype, generator)

    def memory_bytes(self, cell: Cell, context: Context) -> int:
        table = cell["rows"] * (cell["width"] * context.dtype.itemsize + 16)
        if cell["direction"] == "backward":
            table += table + cell["rows"] * 8 * 16
        return table + _index_bytes(cell)


def bags(cell: Cell, layout: str, generator: Generator) -> tuple[Tensor, Tensor | None]:
    """Indices and, for CSR, offsets (B + 1,), of a cell with rows, batch, hotness and alpha."""
    rows, batch, hotness, alpha = cell["rows"], cell["batch"], cell["hotness"], cell["alpha"]
    if layout == "csr_power_law":
        offsets = offsets_of(power_law_lengths(batch, hotness, generator))
        return power_law(rows, int(offsets[-1]), generator, alpha), offsets
    indices = distinct_bags(rows, batch, hotness, alpha, generator)
    if layout == "fixed":
        return indices, None
    if layout == "csr":
        lengths = indices.new_full((batch,), hotness)
        return indices.reshape(-1), offsets_of(lengths)
    lengths = uniform_lengths(batch, hotness, generator)
    kept = lengths.new_ones(batch, hotness).cumsum(1) <= lengths[:, None]
    return indices[kept], offsets_of(lengths)


def _index_bytes(cell: Cell) -> int:
    # Drawing distinct indices sorts and keeps several copies of them.
    return 64 * cell["batch"] * cell["hotness"]
