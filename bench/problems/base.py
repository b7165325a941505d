"""What every problem has, and the reference they share: rows added up in float64."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from ..checks import ALLOWANCE, WrongResultError, require_close

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
        checked_calls: of how many calls in a row the results are checked, if not repeatable.
        bytes_read, bytes_written: the least traffic with memory; 0 where nobody has counted it.
        rows_bytes: the bytes of all rows looked up, repeated ones as often as they are looked up.
    """

    kind: ClassVar[str]
    repeatable: bool = True
    checked_calls: int = 1
    bytes_read: int = 0
    bytes_written: int = 0
    rows_bytes: int = 0

    @abstractmethod
    def check(self, result: Result) -> float:
        """The largest error as a share of what rounding explains; WrongResultError above 1."""

    def check_later(self, result: Result, number: int) -> float:
        """The same for the result of a later call, if not repeatable; the first has number 0."""
        return 0.0


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
        worst = require_close(name, self.sampled(got), self.want, self.scale)
        if self.sums is None:
            return worst
        sums = got.sum(0, dtype=torch.float64)
        return max(worst, _check_sums(name, sums, self.sums, self.sum_scale, got.dtype))

    def sampled(self, got: Tensor) -> Tensor:
        """What is compared value by value."""
        return got if self.sums is None else got[:, self.columns]


class ScatterReferences:
    """The gradients of many tables, compared together: table by table, launching and waiting would
    take longer than all the rest of a row."""

    def __init__(self, each: Sequence[ScatterReference]) -> None:
        self._each = each
        self._want = torch.cat([reference.want.flatten() for reference in each])
        self._scale = torch.cat([reference.scale.flatten() for reference in each])

    def check(self, names: Sequence[str], got: Sequence[Tensor]) -> float:
        """Compares the gradients, (rows, D) each."""
        try:
            return self._check_together(got)
        except WrongResultError:
            # Once more, for the name of the table.
            triples = zip(self._each, names, got, strict=True)
            return max(reference.check(name, tensor) for reference, name, tensor in triples)

    def _check_together(self, got: Sequence[Tensor]) -> float:
        pairs = list(zip(self._each, got, strict=True))
        sampled = [reference.sampled(tensor) for reference, tensor in pairs]
        if any(s.shape != r.want.shape for s, r in zip(sampled, self._each, strict=True)):
            raise WrongResultError("another shape")
        values = torch.cat([tensor.flatten() for tensor in sampled])
        worst = require_close("gradients", values, self._want, self._scale)
        summed = [
            (r, tensor.sum(0, dtype=torch.float64)) for r, tensor in pairs if r.sums is not None
        ]
        if not summed:
            return worst
        sums = torch.cat([found for _, found in summed])
        want, scale = (torch.cat([getattr(r, n) for r, _ in summed]) for n in ("sums", "sum_scale"))
        return max(worst, _check_sums("gradients", sums, want, scale, values.dtype))


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


def _check_sums(name: str, got: Tensor, want: Tensor, scale: Tensor, dtype: torch.dtype) -> float:
    """Sums in float64 of values that had been rounded to their own dtype before."""
    allowance = ALLOWANCE[dtype] * torch.finfo(dtype).eps / torch.finfo(torch.float64).eps
    return require_close(name + " (sums)", got, want, scale, allowance)


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
