"""Dense gradients: ahead of every peer, and near what memory allows."""

from __future__ import annotations

from collections.abc import Iterator

from ..contrast import FASTEST
from .base import Goal, View

SLOWER = 1.05
LARGE = 4096
# Over each peer, in geometric mean over the cells with at least LARGE lookups.
LARGE_MEANS = {FASTEST: 2.0, "torch_eager": 7.0, "inductor": 3.0, "cuembed": 3.0}


def plain(view: View) -> Iterator[Goal]:
    yield from _against_peers(view, "indices")
    if view.usual:
        shares = view.group.roofline_shares(view.subject)
        yield from view.mean_of("share of the roofline", shares, 0.85)
        yield from view.least_of("share of the roofline", shares, 0.70)


def fast_embedding(view: View) -> Iterator[Goal]:
    yield from _against_peers(view, "batch")
    peer, allowed = (
        ("inductor", 1.05) if view.subject.endswith("_compiled") else ("torch_eager", 1.5)
    )
    if view.usual:
        tiny = view.group.only(view.speedups(peer, "wall_us"), width=8, batch=32)
        text = f"wall time against {peer}, width 8, batch 32"
        yield from view.mean_of(text, tiny, round(1.0 / allowed, 3))


def bags(view: View) -> Iterator[Goal]:
    if view.usual:
        speedups = view.speedups("cuembed")
        yield from view.mean_of("against cuembed", speedups, 1.3)
        yield from view.never_slower("cuembed", speedups)


def _against_peers(view: View, quantity: str) -> Iterator[Goal]:
    fastest = view.speedups()
    if view.usual:
        yield from view.least_of(f"against {FASTEST}", fastest, round(1 / SLOWER, 3))
        yield from view.mean_of(f"against {FASTEST}", fastest, 1.5)
        for peer, least in LARGE_MEANS.items():
            large = view.group.only(view.speedups(peer), **{quantity: lambda n: n >= LARGE})
            yield from view.mean_of(f"against {peer}, {quantity} >= {LARGE}", large, least)
    elif view.sixteen_bits:
        yield from view.least_of(f"against {FASTEST}", fastest, 1.0)
        text = "against its float32, roofline of that above 40 us"
        yield from view.mean_of(text, view.against_float32(), 1.5)
    elif view.group.variant["deterministic"] == "yes":
        yield from view.least_of("against torch_eager", view.speedups("torch_eager"), 1.0)
        yield from view.mean_of("against its default", view.against_itself(deterministic="no"), 0.5)
