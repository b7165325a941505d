"""How pictures look, and how they are saved: the same file from the same rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

# No date and no random identifiers in the files.
matplotlib.use("Agg")
matplotlib.rcParams.update({"svg.hashsalt": "bench", "svg.fonttype": "none", "font.size": 8})

# The same peer has the same colour in every picture.
PEERS = {
    "embed_ops": "tab:blue",
    "embed_ops_compiled": "tab:cyan",
    "embed_ops_cudagraphs": "navy",
    "embed_ops_list": "tab:purple",
    "torch_eager": "tab:gray",
    "inductor": "tab:orange",
    "inductor_cudagraphs": "tab:brown",
    "cuembed": "tab:green",
    "fbgemm": "tab:red",
}
Colour = str | tuple[float, float, float, float]
LINES = ("solid", "dashed", "dotted", "dashdot")


def colours(names: Sequence[str]) -> list[Colour]:
    """One each: the peers' own, and some of a palette for whatever else is named."""
    palette = matplotlib.colormaps["tab20" if len(names) > 10 else "tab10"]
    unknown = iter(palette(n) for n in range(palette.N))
    return [PEERS.get(name) or next(unknown) for name in names]


def label(axes: Sequence[str], values: Sequence[str]) -> str:
    """A number needs the name of its axis, a word does not."""
    pairs = zip(axes, values, strict=True)
    return ", ".join(f"{axis} {short(v)}" if is_number(v) else v for axis, v in pairs)


def is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def short(text: str) -> str:
    """``1M`` for 1000000, ``64K`` for 65536; words as they are."""
    if not text.isdigit():
        return text
    number = int(text)
    for unit, sign in ((1_000_000, "M"), (1000, "k"), (1 << 20, "Mi"), (1 << 10, "Ki")):
        if number >= unit and number % unit == 0:
            return f"{number // unit}{sign}"
    return text


def x_of_sizes(axes: Axes, values: Sequence[float]) -> None:
    """A logarithmic axis with ticks at measured sizes, as many of them as there is room for."""
    axes.set_xscale("log", base=2)
    apart = (values[-1] / values[0]) ** (1 / 8)
    ticks = [values[-1]]
    for value in values[-2::-1]:
        if ticks[-1] / value >= apart:
            ticks.append(value)
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short(f"{value:.0f}")))


def of_ratios(axis: Axis, scale: Callable[[str], None]) -> None:
    """A logarithmic axis on which twice as fast and half as fast are as far from 1."""
    scale("log")
    axis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=20))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def save(figure: Figure, path: Path) -> Path:
    figure.savefig(path, format="svg", metadata={"Date": None})
    pyplot.close(figure)
    return path
