"""How functions are called: eagerly, or compiled by Inductor."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor


class Eager:
    """As they are."""

    capturable = True
    compiles = False

    def absent(self, device: torch.device) -> str | None:
        return None

    def compilations(self) -> int:
        return 0

    def settings(self) -> AbstractContextManager[None]:
        return contextlib.nullcontext()

    def compile(self, key: object, fn: Callable[..., Any]) -> Callable[..., Any]:
        return fn

    def dynamic(self, *tensors: Tensor) -> None:
        pass

    def fixed_address(self, *tensors: Tensor) -> None:
        pass

    def begin_step(self) -> None:
        pass


class Inductor:
    """torch.compile. Widths are compiled in; the numbers of rows, lookups and bags are dynamic
    shapes, so that one compilation serves a whole grid of cells of one width."""

    compiles = True

    def __init__(self, cuda_graphs: bool = False, static_shapes: bool = False) -> None:
        self.cuda_graphs = cuda_graphs
        self.static_shapes = static_shapes
        # What replays graphs by itself cannot be captured in another graph.
        self.capturable = not cuda_graphs
        self._compiled: dict[object, Callable[..., Any]] = {}

    def absent(self, device: torch.device) -> str | None:
        if self.cuda_graphs and device.type != "cuda":
            return "CUDA graphs need CUDA"
        return None

    def compilations(self) -> int:
        return torch._dynamo.utils.counters["stats"]["unique_graphs"]

    @contextlib.contextmanager
    def settings(self) -> Iterator[None]:
        # Only what dynamic() names is dynamic, sizes that happen to be equal in the first cell need
        # not be in the next, and a grid of cells compiles many variants. Sizes that only the data
        # say may be in a graph, as with fullgraph=True.
        shapes: Any = torch.fx.experimental._config
        dynamo = torch._dynamo.config.patch(
            automatic_dynamic_shapes=False,
            capture_dynamic_output_shape_ops=True,
            recompile_limit=4096,
            accumulated_recompile_limit=65536,
        )
        with dynamo, shapes.patch(use_duck_shape=False):
            yield

    def compile(self, key: object, fn: Callable[..., Any]) -> Callable[..., Any]:
        if key is not None and key in self._compiled:
            return self._compiled[key]
        compiled = torch.compile(fn, mode="reduce-overhead" if self.cuda_graphs else None)
        if key is not None:
            self._compiled[key] = compiled
        return compiled

    def dynamic(self, *tensors: Tensor) -> None:
        if self.static_shapes:
            return
        for tensor in tensors:
            torch._dynamo.maybe_mark_dynamic(tensor, 0)

    def fixed_address(self, *tensors: Tensor) -> None:
        for tensor in tensors:
            torch._dynamo.mark_static_address(tensor, guard=False)

    def begin_step(self) -> None:
        if self.cuda_graphs:
            torch.compiler.cudagraph_mark_step_begin()
