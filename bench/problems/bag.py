"""The pooled lookup (EmbeddingBag): forward, and the dense gradient alone."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Generator, Tensor

from ..checks import WrongResultError, require_close
from .base import Problem, Result, ScatterReference, nbytes, random_gradient, unique_rows

SAMPLED_BAGS = 4096
CHUNK_LOOKUPS = 1 << 19


class Bags:
    """The lookups of a pooled problem, in either layout.

    Attributes:
        indices: (B, h) with a fixed hotness, else (N,).
        offsets: None with a fixed hotness, else (B + 1,).
        mode: "sum" or "mean".
        per_sample_weights: in the shape of ``indices``, or None.
    """

    def __init__(
        self, indices: Tensor, offsets: Tensor | None, mode: str, weights: Tensor | None
    ) -> None:
        self.indices = indices
        self.offsets = offsets
        self.mode = mode
        self.per_sample_weights = weights
        self.count = indices.shape[0] if offsets is None else offsets.numel() - 1

    @property
    def hotness(self) -> int:
        """The fixed number of lookups per bag, 0 where it is not fixed."""
        return self.indices.shape[1] if self.offsets is None else 0

    def ends(self) -> Tensor:
        """(B + 1,): the offsets, made up where the hotness is fixed."""
        if self.offsets is not None:
            return self.offsets.long()
        return torch.arange(self.count + 1, device=self.indices.device) * self.hotness

    def bag_of_lookup(self) -> Tensor:
        """(N,)."""
        bags = torch.arange(self.count, device=self.indices.device)
        return bags.repeat_interleave(self.ends().diff(), output_size=self.indices.numel())

    def factors(self) -> Tensor | None:
        """(N,) float64: by what each row is multiplied; None for one."""
        weights = None
        if self.per_sample_weights is not None:
            weights = self.per_sample_weights.reshape(-1).double()
        if self.mode == "sum":
            return weights
        bags = self.bag_of_lookup()
        if weights is None:
            weights = torch.ones(bags.shape, dtype=torch.float64, device=bags.device)
        total = weights.new_zeros(self.count).index_add_(0, bags, weights)
        return weights / total[bags]


class BagForward(Bags, Problem):
    """``output`` (B, D): the sum or mean of each bag's rows."""

    kind: ClassVar[str] = "bag_forward"

    def __init__(
        self,
        weight: Tensor,
        indices: Tensor,
        offsets: Tensor | None = None,
        mode: str = "sum",
        per_sample_weights: Tensor | None = None,
    ) -> None:
        super().__init__(indices, offsets, mode, per_sample_weights)
        self.weight = weight
        row_bytes = weight.shape[1] * weight.element_size()
        self.rows_bytes = indices.numel() * row_bytes
        self.bytes_read = unique_rows(indices, weight.shape[0]) * row_bytes
        self.bytes_read += nbytes(indices, offsets, per_sample_weights)
        self.bytes_written = self.count * row_bytes
        self._sample = _sampled_bags(self.count, indices.device)
        self._want, self._scale = self._expect(self._sample)

    def _expect(self, bags: Tensor) -> tuple[Tensor, Tensor]:
        """The outputs of some bags, and the sums of the magnitudes in them; float64."""
        ends, factors, rows = self.ends(), self.factors(), self.indices.reshape(-1)
        lengths = ends.diff()[bags]
        owner = torch.arange(bags.numel(), device=bags.device).repeat_interleave(lengths)
        first = (ends[bags] - torch.cat([lengths.new_zeros(1), lengths.cumsum(0)[:-1]]))[owner]
        lookups = first + torch.arange(owner.numel(), device=bags.device)
        want = torch.zeros(
            bags.numel(), self.weight.shape[1], dtype=torch.float64, device=bags.device
        )
        scale = torch.zeros_like(want)
        for part in lookups.split(CHUNK_LOOKUPS):
            added = self.weight[rows[part]].double()
            if factors is not None:
                added = added * factors[part, None]
            target, owner = owner[: part.numel()], owner[part.numel() :]
            want.index_add_(0, target, added)
            scale.index_add_(0, target, added.abs())
        return want, scale

    def check(self, result: Result) -> float:
        output = result["output"]
        if not output.isfinite().all():
            raise WrongResultError("output: not finite, or never written")
        sampled = output[self._sample] if output.shape[0] == self.count else output
        return require_close("output", sampled, self._want, self._scale)


class BagBackward(Bags, Problem):
    """``grad_weight`` (rows, D) from grad (B, D)."""

    kind: ClassVar[str] = "bag_backward"

    def __init__(
        self,
        rows: int,
        width: int,
        indices: Tensor,
        offsets: Tensor | None,
        mode: str,
        per_sample_weights: Tensor | None,
        dtype: torch.dtype,
        generator: Generator,
    ) -> None:
        super().__init__(indices, offsets, mode, per_sample_weights)
        self.rows = rows
        self.grad = random_gradient((self.count, width), dtype, generator)
        self.like = self.grad.new_empty(rows, 0)
        self.rows_bytes = indices.numel() * width * self.grad.element_size()
        self.bytes_read = nbytes(self.grad, indices, offsets, per_sample_weights)
        self.bytes_written = rows * width * self.grad.element_size()
        self._reference = ScatterReference(
            self.grad, indices.reshape(-1), rows, self.bag_of_lookup(), self.factors()
        )

    def check(self, result: Result) -> float:
        return self._reference.check("grad_weight", result["grad_weight"])


def _sampled_bags(count: int, device: torch.device) -> Tensor:
    """All bags, or the first, the last and a random choice of those between."""
    if count <= SAMPLED_BAGS:
        return torch.arange(count, device=device)
    inner = torch.randperm(count - 2, device=device)[: SAMPLED_BAGS - 2] + 1
    ends = torch.tensor([0, count - 1], device=device)
    return torch.cat([ends, inner]).sort().values
