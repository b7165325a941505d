"""Pooled forward: past cuEmbed at every point, and at the speed of memory."""

from __future__ import annotations

from collections.abc import Iterator

from .. import contrast
from ..contrast import Times
from .base import Goal, View

LARGE = 32768


def published_forward(view: View) -> Iterator[Goal]:
    if view.usual:
        yield from _against_cuembed(view)
        yield from _speed(view)
    elif view.sixteen_bits:
        yield from _sixteen_bits(view, view.times())


def sweep(view: View) -> Iterator[Goal]:
    if view.usual:
        speedups = view.group.only(view.speedups("cuembed"), direction="forward")
        yield from view.never_slower("cuembed, forward", speedups)
        yield from view.mean_of("against cuembed, forward", speedups, 1.15)
    elif view.sixteen_bits:
        yield from _sixteen_bits(view, view.group.only(view.times(), direction="forward"))


def sweep_on_cpu(view: View) -> Iterator[Goal]:
    """Where there are at least 4,096 lookups."""
    speedups = {
        cell: value
        for cell, value in view.speedups("torch_eager").items()
        if _lookups(view, cell) >= 4096
    }
    yield from view.never_slower("torch_eager", speedups)
    yield from view.mean_of("against torch_eager", speedups, 1.2)


def _lookups(view: View, cell: contrast.CellKey) -> int:
    found = dict(zip(view.group.axes, cell, strict=True))
    return int(found["batch"]) * int(found["hotness"])


def _against_cuembed(view: View) -> Iterator[Goal]:
    speedups = view.speedups("cuembed")
    for layout, least in (("fixed", 1.15), ("csr", 1.3)):
        chosen = view.group.only(speedups, layout=layout)
        yield from view.never_slower(f"cuembed, {layout}", chosen)
        yield from view.mean_of(f"against cuembed, {layout}", chosen, least)
    yield from view.mean_of("against cuembed, batch 512", view.group.only(speedups, batch=512), 1.5)
    fixed_by_csr = view.group.across(view.times(), "layout", "fixed", "csr")
    yield from view.least_of("own fixed / own csr", fixed_by_csr, 0.95)


def _speed(view: View) -> Iterator[Goal]:
    rates = view.times("rows_tbps")
    shares = contrast.quotients(rates, view.times("read_tbps"))
    uniform = view.group.only(shares, alpha=0, batch=lambda n: n >= LARGE)
    text = f"share of the read ceiling, uniform, batch >= {LARGE}"
    wide = view.group.only(uniform, width=lambda n: n >= 64)
    yield from view.least_of(f"{text}, width >= 64", wide, 0.92)
    narrow = view.group.only(uniform, width=32)
    yield from view.least_of(f"{text}, width 32", narrow, 0.88)
    skewed = view.group.only(rates, alpha=1.05, batch=131072, width=64)
    yield from view.least_of("TB/s of rows, power law, batch 131072, width 64", skewed, 9.0)


def _sixteen_bits(view: View, times: Times) -> Iterator[Goal]:
    """cuEmbed has no bfloat16: its float16 is the opponent of both."""
    halves = view.sibling(dtype="float16")
    if halves is not None:
        theirs = contrast.quotients(halves.column("cuembed", "device_us"), times)
        yield from view.never_slower("cuembed's float16", theirs)
    large = view.group.only(view.against_itself(dtype="float32"), batch=lambda n: n >= LARGE)
    large = {cell: value for cell, value in large.items() if cell in times}
    yield from view.mean_of(f"against its float32, batch >= {LARGE}", large, 1.7)
