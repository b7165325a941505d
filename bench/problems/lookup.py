"""The plain lookup: forward, the dense gradient alone, and FastEmbedding's forward + backward."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Generator, Tensor

from ..checks import WrongResultError, require_close
from .base import (
    Problem,
    Result,
    ScatterReference,
    column_sums,
    nbytes,
    random_gradient,
    unique_rows,
)


class LookupForward(Problem):
    """``output`` = weight[indices], (N, D)."""

    kind: ClassVar[str] = "lookup_forward"

    def __init__(self, weight: Tensor, indices: Tensor) -> None:
        self.weight = weight
        self.indices = indices
        row_bytes = weight.shape[1] * weight.element_size()
        self.rows_bytes = indices.numel() * row_bytes
        self.bytes_read = unique_rows(indices, weight.shape[0]) * row_bytes + nbytes(indices)
        self.bytes_written = self.rows_bytes

    def check(self, result: Result) -> float:
        if not torch.equal(result["output"], self.weight[self.indices]):
            raise WrongResultError("output: not the rows that were looked up")
        return 0.0


class LookupBackward(Problem):
    """``grad_weight`` (rows, D) from grad (N, D) and indices (N,).

    ``like`` has shape (rows, 0): compiled code takes the number of rows from it as a dynamic shape.
    """

    kind: ClassVar[str] = "lookup_backward"

    def __init__(
        self, rows: int, width: int, indices: Tensor, dtype: torch.dtype, generator: Generator
    ) -> None:
        self.indices = indices
        self.rows = rows
        self.grad = random_gradient((indices.numel(), width), dtype, generator)
        self.like = self.grad.new_empty(rows, 0)
        self.bytes_read = nbytes(self.grad, indices)
        self.bytes_written = rows * width * self.grad.element_size()
        self._reference = ScatterReference(self.grad, indices, rows)

    def check(self, result: Result) -> float:
        return self._reference.check("grad_weight", result["grad_weight"])


class LookupStep(Problem):
    """Forward + backward of a lookup.

    With ``head`` (FastEmbedding's own benchmark): lookup, Linear(D, 1), sum, and the gradients of
    table and Linear. Here each sample has a weight of its own in that sum, so that exchanged
    samples do not go unnoticed. Without: lookup, then the gradient of the table for a given
    ``grad`` (N, D).
    """

    kind: ClassVar[str] = "lookup_step"

    def __init__(
        self, weight: Tensor, indices: Tensor, with_head: bool, generator: Generator
    ) -> None:
        rows, width = weight.shape
        count, dtype = indices.numel(), weight.dtype
        self.weight = weight
        self.indices = indices
        self.with_head = with_head
        row_bytes = width * weight.element_size()
        self.rows_bytes = count * row_bytes
        self.bytes_read = unique_rows(indices, rows) * row_bytes + nbytes(indices)
        self.bytes_written = rows * row_bytes
        if with_head:
            self.head = random_gradient((1, width), dtype, generator)
            self.sample_weights = random_gradient((count,), dtype, generator)
            upstream = self.sample_weights[:, None] * self.head
            self.bytes_read += nbytes(self.head, self.sample_weights)
            self.bytes_written += nbytes(self.head)
            self._expect_head()
        else:
            upstream = self.grad = random_gradient((count, width), dtype, generator)
            self.bytes_read += nbytes(self.grad)
            self.bytes_written += self.rows_bytes
        self._reference = ScatterReference(upstream, indices, rows)

    def _expect_head(self) -> None:
        rows = self.weight[self.indices]
        sums, magnitudes = column_sums(rows, self.sample_weights.double())
        self._grad_head, self._head_scale = sums[None], magnitudes[None]
        head = self.head.double()
        self._loss = (self._grad_head * head).sum()
        self._loss_scale = (self._head_scale * head.abs()).sum()

    def check(self, result: Result) -> float:
        worst = self._reference.check("grad_weight", result["grad_weight"])
        if not self.with_head:
            if not torch.equal(result["output"], self.weight[self.indices]):
                raise WrongResultError("output: not the rows that were looked up")
            return worst
        head = require_close("grad_head", result["grad_head"], self._grad_head, self._head_scale)
        loss = require_close("loss", result["loss"], self._loss, self._loss_scale)
        return max(worst, head, loss)
