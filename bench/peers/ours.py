"""This project's lookups."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ..problems import BagBackward, BagForward, CompressedBackward, Modules, PooledTables, Problem
from ..problems.model import TORCH_MODULES
from .base import Functions, MultiTables


class EmbedOps(Functions):
    """embed_ops: the public functions, and the backward ops where only these are measured."""

    def __init__(self) -> None:
        self._packed_from: list[Tensor] = []
        self._packed = torch.empty(0)

    def absent(self, device: torch.device) -> str | None:
        if importlib.util.find_spec("embed_ops") is None:
            return "embed_ops is not installed"
        try:
            importlib.import_module("embed_ops")
        except (ImportError, OSError) as error:
            return f"embed_ops does not import: {error}"
        key = device.type.upper()
        if not torch._C._dispatch_has_kernel_for_dispatch_key("embed_ops::embedding", key):
            return f"embed_ops was built without kernels for {key}"
        return None

    def embedding(self, indices: Tensor, weight: Tensor) -> Tensor:
        import embed_ops

        return embed_ops.embedding(indices, weight)

    def embedding_backward(self, grad: Tensor, indices: Tensor, like: Tensor) -> Tensor:
        return torch.ops.embed_ops.embedding_dense_backward(
            grad, indices, like.shape[0], -1, False, torch.are_deterministic_algorithms_enabled()
        )

    def bag(self, problem: BagForward) -> tuple[Callable[..., Tensor], tuple[Any, ...]]:
        import embed_ops

        mode = problem.mode

        def run(
            indices: Tensor,
            weight: Tensor,
            offsets: Tensor | None,
            per_sample_weights: Tensor | None,
        ) -> Tensor:
            return embed_ops.embedding_bag(
                indices,
                weight,
                offsets,
                mode=mode,
                per_sample_weights=per_sample_weights,
                include_last_offset=offsets is not None,
            )

        weights = problem.per_sample_weights
        return run, (problem.indices, problem.weight, problem.offsets, weights)

    def bag_backward(self, problem: BagBackward) -> tuple[Callable[..., Tensor], tuple[Any, ...]]:
        mode = problem.mode

        def run(
            grad: Tensor,
            indices: Tensor,
            offsets: Tensor | None,
            per_sample_weights: Tensor | None,
            argmax: Tensor,
            like: Tensor,
        ) -> Tensor:
            return torch.ops.embed_ops.embedding_bag_dense_backward(
                grad,
                indices,
                offsets,
                per_sample_weights,
                argmax,
                like.shape[0],
                False,
                mode,
                offsets is not None,
                -1,
                torch.are_deterministic_algorithms_enabled(),
            )

        no_argmax = problem.indices.new_empty(0)
        weights = problem.per_sample_weights
        return run, (
            problem.grad,
            problem.indices,
            problem.offsets,
            weights,
            no_argmax,
            problem.like,
        )

    def multi(self, tables: Sequence[Tensor]) -> MultiTables:
        import embed_ops

        rows, widths = _sizes(tables)

        def look_up(indices: Tensor, packed: Tensor) -> Tensor:
            return embed_ops.multi_embedding(indices, packed, rows, widths)

        def split(gradients: Sequence[Tensor]) -> Sequence[Tensor]:
            pieces = gradients[0].split([r * w for r, w in zip(rows, widths, strict=True)])
            return [p.view(r, w) for p, r, w in zip(pieces, rows, widths, strict=True)]

        return MultiTables([self._kept(tables)], look_up, split)

    def _kept(self, tables: Sequence[Tensor]) -> Tensor:
        """The same tensor for the same tables: a parameter keeps its memory from call to call."""
        if list(map(id, tables)) != list(map(id, self._packed_from)):
            self._packed_from, self._packed = list(tables), _packed(tables)
        return self._packed

    def pooled_tables(self, problem: PooledTables) -> tuple[Callable[..., Tensor], tuple[Any, ...]]:
        import embed_ops

        rows, widths = _sizes(problem.tables)

        def run(indices: Tensor, packed: Tensor, offsets: Tensor) -> Tensor:
            return embed_ops.multi_embedding(indices, packed, rows, widths, offsets, "sum")

        return run, (problem.indices, _packed(problem.tables), problem.offsets)

    def compressed_backward(
        self, problem: CompressedBackward
    ) -> Callable[[], tuple[Tensor, Tensor]]:
        ops = torch.ops.embed_ops
        plain = problem.hotness == 1
        argmax = problem.indices.new_empty(0)
        arguments: tuple[Any, ...] = (problem.grad, problem.indices.reshape(-1), problem.rows)
        if not plain:
            arguments = (
                problem.grad,
                problem.indices,
                problem.offsets,
                None,
                argmax,
                problem.rows,
                False,
                "sum",
                problem.offsets is not None,
            )
        name = "embedding" if plain else "embedding_bag"
        exact = getattr(ops, f"{name}_compressed_backward")
        padded = getattr(ops, f"{name}_compressed_backward_padded")
        size = problem.num_unique
        if size is None:
            return lambda: exact(*arguments)
        return lambda: padded(*arguments, size=size)[:2]

    def capturable(self, problem: Problem) -> bool:
        return not (isinstance(problem, CompressedBackward) and problem.num_unique is None)

    def modules(self) -> Modules:
        import embed_ops

        return Modules(
            embed_ops.FastEmbedding,
            embed_ops.FastEmbeddingBag,
            embed_ops.FastMultiEmbedding,
            _select,
        )


class TorchUnderBackend(Functions):
    """torch's own lookups, for torch.compile(backend="embed_ops") to find in a model."""

    def absent(self, device: torch.device) -> str | None:
        return EmbedOps().absent(device)

    def modules(self) -> Modules:
        return TORCH_MODULES


class EmbedOpsList(EmbedOps):
    """Many tables kept as separate tensors; nothing else."""

    embedding = Functions.embedding
    embedding_backward = Functions.embedding_backward
    bag = Functions.bag
    bag_backward = Functions.bag_backward
    modules = Functions.modules

    def multi(self, tables: Sequence[Tensor]) -> MultiTables:
        import embed_ops

        def look_up(indices: Tensor, *weights: Tensor) -> Tensor:
            return embed_ops.multi_embedding(indices, weights)

        return MultiTables(list(tables), look_up, lambda gradients: gradients)

    def pooled_tables(self, problem: PooledTables) -> tuple[Callable[..., Tensor], tuple[Any, ...]]:
        import embed_ops

        def run(indices: Tensor, offsets: Tensor, *weights: Tensor) -> Tensor:
            return embed_ops.multi_embedding(indices, weights, offsets=offsets, mode="sum")

        return run, (problem.indices, problem.offsets, *problem.tables)


def _sizes(tables: Sequence[Tensor]) -> tuple[list[int], list[int]]:
    return [table.shape[0] for table in tables], [table.shape[1] for table in tables]


def _select(x: Tensor, index: Tensor) -> Tensor:
    import embed_ops

    return embed_ops.embedding(index, x)


def _packed(tables: Sequence[Tensor]) -> Tensor:
    return torch.cat([table.reshape(-1) for table in tables])
