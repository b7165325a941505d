"""torch's own lookups: eager, and in the form that Inductor makes most of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..problems import BagBackward, BagForward, CompressedBackward, Modules, PooledTables, Problem
from ..problems.model import TORCH_MODULES
from .base import Functions, MultiTables, UnsupportedError

aten = torch.ops.aten
MODES = {"sum": 0, "mean": 1}
# Above this the eager backward sorts, and its unique_by_key waits for the device.
CAPTURABLE_LOOKUPS = 3072


class TorchFunctions(Functions):
    """torch.nn.functional."""

    def embedding(self, indices: Tensor, weight: Tensor) -> Tensor:
        return F.embedding(indices, weight)

    def embedding_backward(self, grad: Tensor, indices: Tensor, like: Tensor) -> Tensor:
        return aten.embedding_dense_backward(grad, indices, like.shape[0], -1, False)

    def multi(self, tables: Sequence[Tensor]) -> MultiTables:
        def look_up(indices: Tensor, *weights: Tensor) -> Tensor:
            rows = [F.embedding(indices[:, t], weight) for t, weight in enumerate(weights)]
            return torch.cat(rows, 1)

        return MultiTables(list(tables), look_up, lambda gradients: gradients)

    def modules(self) -> Modules:
        return TORCH_MODULES


class TorchEager(TorchFunctions):
    """With torch's pooled ops."""

    def bag(self, problem: BagForward) -> tuple[Callable[..., Tensor], tuple[Any, ...]]:
        if problem.per_sample_weights is not None and problem.mode != "sum":
            raise UnsupportedError("torch refuses weights with mode mean")
        indices, offsets = _one_index_dtype(problem)

        def run(weight: Tensor, per_sample_weights: Tensor | None) -> Tensor:
            return F.embedding_bag(
                indices,
                weight,
                offsets,
                mode=problem.mode,
                per_sample_weights=per_sample_weights,
                include_last_offset=offsets is not None,
            )

        return run, (problem.weight, problem.per_sample_weights)

    def bag_backward(self, problem: BagBackward) -> tuple[Callable[..., Tensor], tuple[Any, ...]]:
        if problem.per_sample_weights is not None and problem.mode != "sum":
            raise UnsupportedError("torch refuses weights with mode mean")
        indices, offsets = _one_index_dtype(problem)
        ends = problem.ends().to(indices.dtype) if offsets is None else offsets
        weights = problem.per_sample_weights
        flat_weights = None if weights is None else weights.reshape(-1)
        mode = MODES[problem.mode]
        # What the forward saves for the backward depends neither on values nor on the width.
        table = problem.grad.new_zeros(problem.rows, 1)
        _, bag_of_lookup, sizes, winners = aten._embedding_bag(
            table, indices.reshape(-1), ends, False, mode, False, flat_weights, True
        )

        def run(grad: Tensor, like: Tensor) -> Tensor:
            return aten._embedding_bag_backward(
                grad,
                indices.reshape(-1),
                ends,
                bag_of_lookup,
                sizes,
                winners,
                like.shape[0],
                False,
                mode,
                False,
                flat_weights,
            )

        return run, (problem.grad, problem.like)

    def compressed_backward(
        self, problem: CompressedBackward
    ) -> Callable[[], tuple[Tensor, Tensor]]:
        """What sparse=True gives, coalesced as optimizers that need it do."""
        rows = problem.indices.reshape(1, -1)
        bags = None if problem.hotness == 1 else problem.bag_of_lookup()
        shape = (problem.rows, problem.grad.shape[1])

        def run() -> tuple[Tensor, Tensor]:
            values = problem.grad if bags is None else problem.grad.index_select(0, bags)
            gradient = torch.sparse_coo_tensor(
                rows, values, shape, check_invariants=False
            ).coalesce()
            return gradient.values(), gradient.indices()[0]

        return run

    def pooled_tables(self, problem: PooledTables) -> tuple[Callable[..., Tensor], tuple[Any, ...]]:
        parts = [(p.indices, p.offsets) for p in problem.per_table]

        def run(*tables: Tensor) -> Tensor:
            bags = [
                F.embedding_bag(indices, table, offsets, mode="sum", include_last_offset=True)
                for table, (indices, offsets) in zip(tables, parts, strict=True)
            ]
            return torch.cat(bags, 1)

        return run, tuple(problem.tables)

    def capturable(self, problem: Problem) -> bool:
        if problem.kind in ("bag_backward", "compressed_backward"):
            return False
        if problem.kind in ("lookup_backward", "lookup_step"):
            return _lookups(problem) <= CAPTURABLE_LOOKUPS
        if problem.kind == "multi_step":
            return _lookups(problem, 0) <= CAPTURABLE_LOOKUPS
        return True


class TorchIndexAdd(Functions):
    """zeros and index_add_: the dense gradient as one writes it by hand."""

    def embedding_backward(self, grad: Tensor, indices: Tensor, like: Tensor) -> Tensor:
        return grad.new_zeros(like.shape[0], grad.shape[1]).index_add_(0, indices, grad)


class TorchUnderInductor(TorchFunctions):
    """Inductor leaves EmbeddingBag as it is, so a fixed hotness is written as a lookup and a sum,
    which it fuses; what remains opaque to it is torch_eager's row."""

    def bag(self, problem: BagForward) -> tuple[Callable[..., Tensor], tuple[Any, ...]]:
        if not problem.hotness:
            raise UnsupportedError(
                "Inductor leaves EmbeddingBag with offsets to torch_eager's kernel"
            )
        mode = problem.mode
        weights = problem.per_sample_weights

        def run(indices: Tensor, weight: Tensor, per_sample_weights: Tensor | None) -> Tensor:
            rows = F.embedding(indices, weight)
            if per_sample_weights is None:
                return rows.sum(1) if mode == "sum" else rows.mean(1)
            total = (rows * per_sample_weights[:, :, None]).sum(1)
            if mode == "sum":
                return total
            return total / per_sample_weights.sum(1, keepdim=True)

        return run, (problem.indices, problem.weight, weights)

    def bag_backward(self, problem: BagBackward) -> tuple[Callable[..., Tensor], tuple[Any, ...]]:
        hotness = problem.hotness
        if not hotness:
            raise UnsupportedError(
                "Inductor leaves EmbeddingBag with offsets to torch_eager's kernel"
            )
        mode = problem.mode

        def run(
            grad: Tensor, indices: Tensor, like: Tensor, per_sample_weights: Tensor | None
        ) -> Tensor:
            if per_sample_weights is not None:
                if mode == "mean":
                    grad = grad / per_sample_weights.sum(1, keepdim=True)
                added = grad[:, None] * per_sample_weights[:, :, None]
            else:
                scaled = grad / hotness if mode == "mean" else grad
                added = scaled[:, None].expand(-1, hotness, -1)
            return aten.embedding_dense_backward(added, indices, like.shape[0], -1, False)

        return run, (problem.grad, problem.indices, problem.like, problem.per_sample_weights)


def _one_index_dtype(problem: BagForward | BagBackward) -> tuple[Tensor, Tensor | None]:
    offsets = problem.offsets
    if offsets is not None:
        offsets = offsets.to(problem.indices.dtype)
    return problem.indices, offsets


def _lookups(problem: Problem, dim: int | None = None) -> int:
    indices = getattr(problem, "indices", None)
    assert isinstance(indices, Tensor)
    return indices.numel() if dim is None else indices.shape[dim]
