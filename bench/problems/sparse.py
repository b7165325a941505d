"""Gradients of the rows that are named: alone, and in a training step with SGD."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Generator, Tensor

from ..checks import WrongResultError, require_close
from .bag import Bags
from .base import Problem, Result, ScatterReference, nbytes, random_gradient


class CompressedBackward(Bags, Problem):
    """``values`` (U, D) and ``rows`` (U,), ascending, from grad (B, D): U rows are named.

    Attributes:
        num_unique: U, where callers know it beforehand (as cuEmbed's own benchmark has it); None
            where it is read from the device.
    """

    kind: ClassVar[str] = "compressed_backward"

    def __init__(
        self,
        rows: int,
        width: int,
        indices: Tensor,
        offsets: Tensor | None,
        count_is_known: bool,
        dtype: torch.dtype,
        generator: Generator,
    ) -> None:
        super().__init__(indices, offsets, "sum", None)
        self.rows = rows
        self.grad = random_gradient((self.count, width), dtype, generator)
        named, inverse = indices.reshape(-1).long().unique(return_inverse=True)
        self._named = named
        self.num_unique = named.numel() if count_is_known else None
        self.rows_bytes = indices.numel() * width * self.grad.element_size()
        self.bytes_read = nbytes(self.grad, indices, offsets)
        row_bytes = width * self.grad.element_size() + indices.element_size()
        self.bytes_written = named.numel() * row_bytes
        bags = None if self.hotness == 1 else self.bag_of_lookup()
        self._reference = ScatterReference(self.grad, inverse, named.numel(), bags)

    def check(self, result: Result) -> float:
        if not torch.equal(result["rows"].long(), self._named):
            raise WrongResultError("rows: not those that are named, in ascending order")
        return self._reference.check("values", result["values"])


class SparseStep(Problem):
    """Lookup, backward from a given ``grad`` (N, D), SGD: ``weight`` (rows, D) as it is after.

    Attributes:
        sparse: whether the gradient is.
    """

    kind: ClassVar[str] = "sparse_step"
    repeatable = False
    LEARNING_RATE: ClassVar[float] = 0.5

    def __init__(self, weight: Tensor, indices: Tensor, sparse: bool, generator: Generator) -> None:
        width = weight.shape[1]
        self.weight = weight
        self.indices = indices
        self.sparse = sparse
        self.grad = random_gradient((indices.numel(), width), weight.dtype, generator)
        self._named, inverse = indices.long().unique(return_inverse=True)
        row_bytes = width * weight.element_size()
        self.rows_bytes = indices.numel() * row_bytes
        # The rows that are named are read twice and written once, beside outputs and gradients.
        named_bytes = self._named.numel() * row_bytes
        self.bytes_read = 2 * named_bytes + nbytes(self.grad, indices)
        self.bytes_written = named_bytes + nbytes(self.grad)
        added = torch.zeros(self._named.numel(), width, dtype=torch.float64, device=weight.device)
        magnitude = torch.zeros_like(added)
        added.index_add_(0, inverse, self.grad.double())
        magnitude.index_add_(0, inverse, self.grad.double().abs())
        before = weight[self._named].double()
        self._want = before - self.LEARNING_RATE * added
        self._scale = before.abs() + self.LEARNING_RATE * magnitude

    def check(self, result: Result) -> float:
        weight = result["weight"]
        worst = require_close("weight", weight[self._named], self._want, self._scale)
        changed = (weight != self.weight).any(dim=1)
        changed[self._named] = False
        if bool(changed.any()):
            raise WrongResultError("weight: rows have changed that nobody named")
        return worst
