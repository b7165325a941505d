"""cuEmbed's benchmarks: its published pooled forward, and the sweep that its repository runs."""

from __future__ import annotations

from torch import Tensor

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
        indices, offsets = bags(cell, cell["layout"], context)
        return BagForward(context.table(cell["rows"], cell["width"]), indices, offsets)

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
        indices, offsets = bags(cell, cell["layout"], context)
        rows, width = cell["rows"], cell["width"]
        if cell["direction"] == "forward":
            return BagForward(context.table(rows, width), indices, offsets)
        context.release()
        generator = context.generator(cell)
        return BagBackward(rows, width, indices, offsets, "sum", None, context.dtype, generator)

    def memory_bytes(self, cell: Cell, context: Context) -> int:
        table = cell["rows"] * (cell["width"] * context.dtype.itemsize + 16)
        if cell["direction"] == "backward":
            table += table + cell["rows"] * 8 * 16
        return table + _index_bytes(cell)


def bags(cell: Cell, layout: str, context: Context) -> tuple[Tensor, Tensor | None]:
    """Indices and, for CSR, offsets (B + 1,) of a cell, in one of :data:`LAYOUTS`.

    Cells that differ in anything else, or in ``fixed`` and ``csr``, have the same bags.
    """
    rows, batch, hotness, alpha = point = [cell[n] for n in ("rows", "batch", "hotness", "alpha")]
    generator = context.generator({"bags": point})
    if layout == "csr_power_law":
        offsets = offsets_of(power_law_lengths(batch, hotness, generator))
        indices = power_law(rows, int(offsets[-1]), generator, alpha)
        return indices.to(context.index_dtype), offsets.to(context.index_dtype)

    def draw() -> Tensor:
        drawn = distinct_bags(rows, batch, hotness, alpha, generator)
        return drawn.to(context.index_dtype)

    fixed = context.kept("bags", point, draw)
    if layout == "fixed":
        return fixed, None
    if layout == "csr":
        lengths = fixed.new_full((batch,), hotness)
        return fixed.reshape(-1), offsets_of(lengths).to(context.index_dtype)
    lengths = uniform_lengths(batch, hotness, context.generator({"lengths": point}))
    kept = lengths.new_ones(batch, hotness).cumsum(1) <= lengths[:, None]
    return fixed[kept], offsets_of(lengths).to(context.index_dtype)


def _index_bytes(cell: Cell) -> int:
    # Drawing distinct indices sorts and keeps several copies of them.
    return 64 * cell["batch"] * cell["hotness"]
