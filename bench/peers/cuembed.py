"""cuEmbed, through a library of torch ops whose path is given.

Two libraries are understood: cuEmbed's own PyTorch example (``libcuembed_pyt.so``, namespace
cuembed_pyt: fp32 tables, int64 indices with offsets, sums), and a fuller wrapper around the same
headers (namespace cuembed_peer: fp16 and int32, fixed hotness, means, the whole backward in one
op). bench/README.md lists the ops of the wrapper.
"""

from __future__ import annotations

import functools
import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..problems import BagBackward, BagForward, CompressedBackward, Problem
from .base import Functions, UnsupportedError

Arguments = tuple[Any, ...]


class CuEmbed(Functions):
    """Whichever library was found. cuEmbed adds with atomics and has no deterministic mode."""

    def __init__(self, library: str | None) -> None:
        self._path = library or os.environ.get("CUEMBED_LIB")
        self._library: _Library | None = None

    def absent(self, device: torch.device) -> str | None:
        if device.type != "cuda":
            return "cuEmbed needs CUDA"
        if self._path is None:
            return "no library given (--cuembed-lib or CUEMBED_LIB)"
        if not os.path.isfile(self._path):
            return f"{self._path}: no such file"
        if self._library is None:
            try:
                torch.ops.load_library(self._path)
            except OSError as error:
                return f"{self._path} does not load: {error}"
            self._library = _Wrapper() if hasattr(torch.ops.cuembed_peer, "forward") else _Example()
        return self._library.absent()

    @property
    def _ops(self) -> _Library:
        assert self._library is not None
        return self._library

    def embedding(self, indices: Tensor, weight: Tensor) -> Tensor:
        return _Lookup.apply(weight, indices, self._ops)

    def embedding_backward(self, grad: Tensor, indices: Tensor, like: Tensor) -> Tensor:
        return self._ops.backward(grad, indices[:, None], None, None, like.shape[0])

    def bag(self, problem: BagForward) -> tuple[Callable[..., Tensor], Arguments]:
        weights = _flat(problem.per_sample_weights)
        mode = problem.mode
        ops = self._ops
        ops.require(problem.weight, problem.indices)
        ops.require_mode(mode)

        def run(indices: Tensor, weight: Tensor) -> Tensor:
            return ops.forward(weight, indices, problem.offsets, weights, mode)

        return run, (problem.indices, problem.weight)

    def bag_backward(self, problem: BagBackward) -> tuple[Callable[..., Tensor], Arguments]:
        if problem.mode != "sum":
            raise UnsupportedError("cuEmbed's backward knows sums only")
        ops = self._ops
        ops.require(problem.grad, problem.indices)
        weights = _flat(problem.per_sample_weights)

        def run(grad: Tensor, indices: Tensor, like: Tensor) -> Tensor:
            return ops.backward(grad, indices, problem.offsets, weights, like.shape[0])

        return run, (problem.grad, problem.indices, problem.like)

    def compressed_backward(
        self, problem: CompressedBackward
    ) -> Callable[[], tuple[Tensor, Tensor]]:
        if not isinstance(self._ops, _Wrapper):
            raise UnsupportedError("cuEmbed's example has no compressed gradient")
        self._ops.require(problem.grad, problem.indices)
        count = -1 if problem.num_unique is None else problem.num_unique
        operator = torch.ops.cuembed_peer.compressed_backward

        def run() -> tuple[Tensor, Tensor]:
            rows, values = operator(
                problem.grad, problem.indices, problem.offsets, None, problem.hotness, count
            )
            return values, rows

        return run

    def capturable(self, problem: Problem) -> bool:
        return not (isinstance(problem, CompressedBackward) and problem.num_unique is None)


class _Library(ABC):
    """One library's ops; bags with a fixed hotness have ``offsets`` None and indices (B, h)."""

    @abstractmethod
    def absent(self) -> str | None: ...

    @abstractmethod
    def forward(
        self,
        table: Tensor,
        indices: Tensor,
        offsets: Tensor | None,
        weights: Tensor | None,
        mode: str,
    ) -> Tensor: ...

    @abstractmethod
    def backward(
        self,
        grad: Tensor,
        indices: Tensor,
        offsets: Tensor | None,
        weights: Tensor | None,
        rows: int,
    ) -> Tensor: ...

    @abstractmethod
    def require(self, values: Tensor, indices: Tensor) -> None:
        """Raises UnsupportedError for dtypes that the library does not take."""

    @abstractmethod
    def require_mode(self, mode: str) -> None:
        """Raises UnsupportedError for a reduction that the library does not have."""


class _Wrapper(_Library):
    def absent(self) -> str | None:
        return None

    def forward(
        self,
        table: Tensor,
        indices: Tensor,
        offsets: Tensor | None,
        weights: Tensor | None,
        mode: str,
    ) -> Tensor:
        hotness = indices.shape[1] if offsets is None else 0
        return torch.ops.cuembed_peer.forward(table, indices, offsets, weights, hotness, mode)

    def backward(
        self,
        grad: Tensor,
        indices: Tensor,
        offsets: Tensor | None,
        weights: Tensor | None,
        rows: int,
    ) -> Tensor:
        self.require(grad, indices)
        hotness = indices.shape[1] if offsets is None else 0
        return torch.ops.cuembed_peer.dense_backward(grad, indices, offsets, weights, hotness, rows)

    def require(self, values: Tensor, indices: Tensor) -> None:
        if values.dtype not in (torch.float32, torch.float16):
            raise UnsupportedError(f"cuEmbed has no {values.dtype}")
        if torch.are_deterministic_algorithms_enabled():
            raise UnsupportedError("cuEmbed has no deterministic mode")

    def require_mode(self, mode: str) -> None:
        pass


class _Example(_Library):
    def absent(self) -> str | None:
        if not hasattr(torch.ops.cuembed_pyt, "cuembed_embedding_forward"):
            return "the library has neither the ops of cuEmbed's example nor those of a wrapper"
        return None

    def forward(
        self,
        table: Tensor,
        indices: Tensor,
        offsets: Tensor | None,
        weights: Tensor | None,
        mode: str,
    ) -> Tensor:
        self.require(table, indices)
        return torch.ops.cuembed_pyt.cuembed_embedding_forward(
            table, indices.reshape(-1), self._ends(indices, offsets), weights, mode
        )

    def backward(
        self,
        grad: Tensor,
        indices: Tensor,
        offsets: Tensor | None,
        weights: Tensor | None,
        rows: int,
    ) -> Tensor:
        self.require(grad, indices)
        ops = torch.ops.cuembed_pyt
        flat = indices.reshape(-1)
        starts = self._ends(indices, offsets)[:-1]
        samples = ops.cuembed_extract_row_ids_from_csr(starts, flat.numel())
        sorted_rows, sorted_samples, sorted_weights = ops.cuembed_transpose(samples, flat, weights)
        return ops.cuembed_embedding_backward(
            grad, rows, sorted_rows, sorted_samples, None if weights is None else sorted_weights
        )

    def require(self, values: Tensor, indices: Tensor) -> None:
        if values.dtype != torch.float32 or indices.dtype != torch.int64:
            raise UnsupportedError("cuEmbed's example takes float32 tables and int64 indices only")
        if torch.are_deterministic_algorithms_enabled():
            raise UnsupportedError("cuEmbed has no deterministic mode")

    def require_mode(self, mode: str) -> None:
        if mode != "sum":
            raise UnsupportedError("cuEmbed's example sums only")

    def _ends(self, indices: Tensor, offsets: Tensor | None) -> Tensor:
        return _made_up_offsets(*indices.shape, indices.device) if offsets is None else offsets


@functools.lru_cache(maxsize=4)
def _made_up_offsets(bags: int, hotness: int, device: torch.device) -> Tensor:
    """Kept between calls: a user of offsets has them at hand."""
    return torch.arange(bags + 1, device=device) * hotness


def _flat(weights: Tensor | None) -> Tensor | None:
    return None if weights is None else weights.reshape(-1)


class _Lookup(torch.autograd.Function):
    """A plain lookup is a bag of one."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, indices: Tensor, ops: _Library) -> Tensor:
        ops.require(weight, indices)
        ctx.save_for_backward(indices)
        ctx.rows, ctx.ops = weight.shape[0], ops
        return ops.forward(weight, indices[:, None], None, None, "sum")

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (indices,) = ctx.saved_tensors
        gradient = ctx.ops.backward(grad.contiguous(), indices[:, None], None, None, ctx.rows)
        return gradient, None, None
