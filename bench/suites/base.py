"""What a suite is: named axes, whose product are the cells, and how a cell's problem is built."""

from __future__ import annotations

import itertools
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Generator, Tensor

from ..problems import Problem

Cell = dict[str, Any]


class FilterError(Exception):
    """A --filter that names no axis, or a value that the axis cannot have."""


@dataclass(frozen=True)
class Axis:
    """One dimension of a grid.

    Attributes:
        name: a column of the results.
        values: those of the full grid, in the order of plots.
        quick: those of the grid of ``--quick``.
        more: values beyond the grid that a filter may name.
        free: a filter may name any number.
    """

    name: str
    values: tuple[Any, ...]
    quick: tuple[Any, ...]
    more: tuple[Any, ...] = ()
    free: bool = False

    def chosen(self, quick: bool, wanted: list[str] | None) -> tuple[Any, ...]:
        """The values of one run; FilterError if a wanted one cannot be had."""
        if wanted is None:
            return self.quick if quick else self.values
        return tuple(dict.fromkeys(self._parse(text) for text in wanted))

    def _parse(self, text: str) -> Any:
        known = tuple(dict.fromkeys((*self.values, *self.quick, *self.more)))
        for value in known:
            if text in (str(value), f"{value:g}" if isinstance(value, float) else ""):
                return value
        if self.free:
            try:
                number = type(self.values[0])(float(text))
            except ValueError:
                pass
            else:
                if number > 0:
                    return number
            raise FilterError(f"axis {self.name!r} takes positive numbers, not {text!r}")
        listed = ", ".join(map(str, known))
        raise FilterError(f"axis {self.name!r} has no value {text!r}; it has: {listed}")


def sizes(name: str, values: tuple[int, ...], quick: tuple[int, ...]) -> Axis:
    """An axis of sizes: a filter may name any."""
    return Axis(name, values, quick, free=True)


@dataclass
class Context:
    """Where and in what dtypes problems are built, and the tables that successive cells share."""

    device: torch.device
    dtype: torch.dtype = torch.float32
    index_dtype: torch.dtype = torch.int64
    quick: bool = False
    _kept: dict[str, tuple[object, Any]] = field(default_factory=dict)

    def generator(self, cell: Mapping[str, Any]) -> Generator:
        """Seeded by the cell, so that its indices are the same in every run."""
        seed = zlib.crc32(repr(sorted(cell.items())).encode())
        return torch.Generator(self.device).manual_seed(seed)

    def kept(self, name: str, key: object, make: Callable[[], Any]) -> Any:
        """What ``make`` made for the last cell, if that had the same key."""
        if name not in self._kept or self._kept[name][0] != key:
            self._kept.pop(name, None)  # Before the next is made: tables can be most of the memory.
            self._kept[name] = key, make()
        return self._kept[name][1]

    def release(self) -> None:
        """Lets go of the shared tables, for a cell that needs the memory and none of them."""
        self._kept.clear()

    def table(self, rows: int, width: int) -> Tensor:
        """(rows, width) of normal values."""

        def make() -> Tensor:
            generator = torch.Generator(self.device).manual_seed(rows * width)
            shape = (rows, width)
            return torch.randn(shape, generator=generator, device=self.device, dtype=self.dtype)

        return self.kept("table", (rows, width, self.dtype), make)

    def tables(self, rows: list[int], widths: list[int]) -> list[Tensor]:
        """One table per entry."""

        def make() -> list[Tensor]:
            generator = torch.Generator(self.device).manual_seed(len(rows))
            return [
                torch.randn(shape, generator=generator, device=self.device, dtype=self.dtype)
                for shape in zip(rows, widths, strict=True)
            ]

        return self.kept("tables", (tuple(rows), tuple(widths), self.dtype), make)


class Suite(ABC):
    """A grid of cells.

    Attributes:
        name: as on the command line, and of the file of results.
        title: one line for ``list`` and the summary.
        axes: slowest first. What peers compile by and tables are made by comes first; sizes are
            walked from the largest down, so that what is compiled for the first is fit for all.
        peers: those of a run that names none.
        peers_quick: those of a quick run that names none.
        quantity: the axis along which pictures and the summary speak of "large" cells, if any.
    """

    name: str
    title: str
    axes: tuple[Axis, ...]
    peers: tuple[str, ...] = ("torch_eager", "inductor", "cuembed", "embed_ops")
    peers_quick: tuple[str, ...] = ("torch_eager", "embed_ops")
    quantity: str | None = None

    @abstractmethod
    def build(self, cell: Cell, context: Context) -> Problem:
        """The problem of one cell, on the context's device."""

    def memory_bytes(self, cell: Cell, context: Context) -> int:
        """About how much memory the cell needs; cells that do not fit are left out."""
        return 0

    def cells(self, quick: bool, filters: Mapping[str, list[str]] | None = None) -> Iterator[Cell]:
        """The cells of a run.

        Raises:
            FilterError: a filter that fits no axis.
        """
        filters = filters or {}
        names = [axis.name for axis in self.axes]
        for name in filters:
            if name not in names:
                known = ", ".join(names)
                raise FilterError(f"suite {self.name!r} has no axis {name!r}; it has: {known}")
        chosen = [axis.chosen(quick, filters.get(axis.name)) for axis in self.axes]
        ordered = [values[::-1] if _is_numeric(values) else values for values in chosen]
        return (dict(zip(names, values, strict=True)) for values in itertools.product(*ordered))


def _is_numeric(values: tuple[Any, ...]) -> bool:
    return all(isinstance(value, (int, float)) for value in values)
