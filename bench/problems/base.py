"""What every problem has, and the reference they share: rows added up in float64."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from ..checks import require_close

Result = dict[str, Tensor]

# Above this many values a gradient is compared in a sample of its columns (all rows of them), and
# all columns by their sums.
FULL_CHECK_VALUES = 1 << 22
SAMPLED_COLUMNS = 8
CHUNK_VALUES = 1 << 25


class Problem(ABC):
    """One cell's inputs, reference and memory traffic.

    Attributes:
        kind: the name of the method of a peer that solves it.
        repeatable: False where a call changes the inputs of the next (an optimizer's step).
        bytes_read, bytes_written: the least traffic with memory; 0 where nobody has counted it.
        rows_bytes: the bytes of all rows looked up, repeated ones as often as they are looked up.
    """

    kind: ClassVar[str]
    repeatable: bool = True
    bytes_read: int = 0
    bytes_written: int = 0
    rows_bytes: int = 0

    @abstractmethod
    def check(self, result: Result) -> float:
        """The largest error as a share of what rounding explains; WrongResultError above 1."""


class ScatterReference:
    """The dense gradient of a table in float64.

    Lookup j adds ``weights[j] * grad[bags[j]]`` to row ``indices[j]``.

    Args:
        grad: (B, D), any floating dtype.
        indices: (N,), row numbers.
        rows: the number of rows of the table.
        bags: (N,), which row of ``grad`` each lookup takes; default: row j.
        weights: (N,), float64; default: ones.
    """

    def __init__(
        self,
        grad: Tensor,
        indices: Tensor,
        rows: int,
        bags: Tensor | None = None,
        weights: Tensor | None = None,
    ) -> None:
        width = grad.shape[1]
        everything = max(rows, indices.numel()) * width <= FULL_CHECK_VALUES
        self.columns = _sample(width, width if everything else SAMPLED_COLUMNS, grad.device)
        sampled = grad[:, self.columns].double()
        self.want = sampled.new_zeros(rows, self.columns.numel())
        self.scale = torch.zeros_like(self.want)
        step = max(CHUNK_VALUES // self.columns.numel(), 1)
        for start in range(0, indices.numel(), step):
            part = slice(start, start + step)
            added = sampled[part] if bags is None else sampled[bags[part]]
            if weights is not None:
                added = added * weights[part, None]
            self.want.index_add_(0, indices[part], added)
            self.scale.index_add_(0, indices[part], added.abs())
        self.sums: Tensor | None = None
        if not everything:
            share = _weight_per_bag(grad, bags, weights)
            self.sums, self.sum_scale = column_sums(grad, share)

    def check(self, name: str, got: Tensor) -> float:
        """Compares a table's gradient, (rows, D)."""
        if self.sums is None:
            return require_close(name, got, self.want, self.scale)
        worst = require_close(name, got[:, self.columns], self.want, self.scale)
        sums = got.sum(0, dtype=torch.float64)
        # The values were rounded to their own dtype before they were summed here.
        eps = torch.finfo(got.dtype).eps / torch.finfo(torch.float64).eps
        allowance = 8.0 * eps
        return max(
            worst, require_close(name + " (sums)", sums, self.sums, self.sum_scale, allowance)
        )


def unique_rows(indices: Tensor, rows: int) -> int:
    """How many different rows are named."""
    named = torch.zeros(rows, dtype=torch.bool, device=indices.device)
    named[indices.reshape(-1)] = True
    return int(named.sum())


def random_gradient(
    shape: tuple[int, ...], dtype: torch.dtype, generator: torch.Generator
) -> Tensor:
    """A gradient in which a missing addition shows.

    32- and 64-bit: normal, so that large sums stay small and one missing term stands out. 16-bit:
    mostly positive and small, so that sums grow: what is added to a 16-bit sum stops counting at
    256 times its size, and that must be noticed; nothing overflows.
    """
    if dtype.itemsize >= 4:
        return torch.randn(shape, generator=generator, device=generator.device, dtype=dtype)
    values = torch.rand(shape, generator=generator, device=generator.device) * 2.0 - 0.75
    return (values / 16.0).to(dtype)


def column_sums(grad: Tensor, share: Tensor | None) -> tuple[Tensor, Tensor]:
    """(D,) each, float64: the sums of all ``share[b] * grad[b]``, and of their magnitudes."""
    sums = torch.zeros(grad.shape[1], dtype=torch.float64, device=grad.device)
    magnitudes = torch.zeros_like(sums)
    step = max(CHUNK_VALUES // max(grad.shape[1], 1), 1)
    for start in range(0, grad.shape[0], step):
        part = grad[start : start + step].double()
        if share is not None:
            part = part * share[start : start + step, None]
        sums += part.sum(0)
        magnitudes += part.abs().sum(0)
    return sums, magnitudes


def nbytes(*tensors: Tensor | None) -> int:
    """The size of the tensors together."""
    return sum(t.numel() * t.element_size() for t in tensors if t is not None)


def _sample(width: int, count: int, device: torch.device) -> Tensor:
    if count >= width:
        return torch.arange(width, device=device)
    inner = torch.randperm(width - 2)[: count - 2] + 1
    return torch.cat([torch.tensor([0, width - 1]), inner]).sort().values.to(device)


def _weight_per_bag(grad: Tensor, bags: Tensor | None, weights: Tensor | None) -> Tensor | None:
    """(B,): how often each row of ``grad`` is added, weights counted; None for once each."""
    if bags is None:
        return weights
    share = torch.zeros(grad.shape[0], dtype=torch.float64, device=grad.device)
    added = weights if weights is not None else torch.ones_like(share[:1]).expand(bags.shape)
    return share.index_add_(0, bags, added)
