"""Many tables of different widths in one launch each way."""

from __future__ import annotations

from collections.abc import Iterator

from .. import contrast
from .base import Goal, View

BATCH = 16384
NARROW = ("10xs", "10s", "10s_uneven")


def fast_multi_embedding(view: View) -> Iterator[Goal]:
    if not view.usual:
        return
    for peer, least in (("torch_eager", 10.0), ("inductor_cudagraphs", 4.0)):
        speedups = view.group.only(view.speedups(peer, "wall_us"), part="step", batch=BATCH)
        yield from view.mean_of(f"wall time against {peer}, batch {BATCH}", speedups, least)
    shares = contrast.quotients(view.times("roofline_us"), view.times())
    for tables in NARROW:
        chosen = view.group.only(shares, part="forward", batch=BATCH, tables=tables)
        yield from view.mean_of(f"share of the roofline, forward of {tables}", chosen, 0.6)
