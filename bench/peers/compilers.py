"""How functions are called: eagerly, or compiled by Inductor."""

from __future__ import annotations

import contextlib
import functools
import os
import tempfile
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

    def from_nothing(self, device: torch.device) -> AbstractContextManager[None]:
        return contextlib.nullcontext()


class Inductor:
    """torch.compile. Widths are compiled in; the numbers of rows, lookups and bags are dynamic
    shapes, so that one compilation serves a whole grid of cells of one width.

    Args:
        backend: whose lookups are compiled: Inductor's own, or "embed_ops".
    """

    compiles = True

    def __init__(
        self, cuda_graphs: bool = False, static_shapes: bool = False, backend: str = "inductor"
    ) -> None:
        self.cuda_graphs = cuda_graphs
        self.static_shapes = static_shapes
        self.backend = backend
        # What replays graphs by itself cannot be captured in another graph.
        self.capturable = not cuda_graphs
        self._compiled: dict[object, Callable[..., Any]] = {}

    def absent(self, device: torch.device) -> str | None:
        if self.cuda_graphs and device.type != "cuda":
            return "CUDA graphs need CUDA"
        if self.backend not in torch._dynamo.list_backends(()):
            return f"no installed package has the backend {self.backend!r}"
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
        mode = "reduce-overhead" if self.cuda_graphs else None
        compiled = torch.compile(fn, backend=self.backend, mode=mode)
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

    def from_nothing(self, device: torch.device) -> AbstractContextManager[None]:
        # Here and not when it is entered: loading is no part of what is timed.
        _load_compiler(self.backend, device)
        return _caches_of(self.backend)


@functools.cache
def _load_compiler(backend: str, device: torch.device) -> None:
    """Compiles something small, which imports all that a compilation needs."""
    layer = torch.nn.Linear(4, 4, device=device)
    with _caches_of(backend):
        torch.compile(layer, backend=backend)(torch.ones(1, 4, device=device)).sum().backward()


@contextlib.contextmanager
def _caches_of(backend: str) -> Iterator[None]:
    """Compiled code comes from a folder of this process, and goes there."""
    from torch._inductor.utils import clear_caches

    folder = _cache_folder(backend).name
    clear_caches()
    try:
        with _environment(TORCHINDUCTOR_CACHE_DIR=folder, TRITON_CACHE_DIR=f"{folder}/triton"):
            yield
    finally:
        clear_caches()


@functools.cache
def _cache_folder(backend: str) -> tempfile.TemporaryDirectory[str]:
    """Empty at first; goes with the process."""
    return tempfile.TemporaryDirectory(prefix=f"bench_{backend}_")


@contextlib.contextmanager
def _environment(**values: str) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
