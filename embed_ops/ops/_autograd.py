"""What the autograd formulas of several ops share.

Every op is linear in its tables, and every ``*_dense_backward`` op is the adjoint of its forward
op. So the derivative of the one is a call of the other, gradients of every order exist, and nothing
else is needed except where per-sample weights stand in a quotient: the weighted mean
(:mod:`._weighted_mean`).

Where a formula needs sums over bags or counts of lookups it asks the ops for them, with a table of
ones. So padding, rows out of range and clamped offsets mean in a derivative of any order what they
mean in the forward, and no formula synchronises or can read out of range.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def needs_grad(ctx: Any, position: int) -> bool:
    """Whether the argument at ``position`` of an op registered by torch.library needs a gradient.

    The dispatcher leaves out trailing arguments that equal their defaults.
    """
    return position < len(ctx.needs_input_grad) and bool(ctx.needs_input_grad[position])


def is_deterministic() -> bool:
    """Whether gradients must be the same to the bit in every run; asked when they are computed."""
    return torch.are_deterministic_algorithms_enabled()


def ones(like: Tensor, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """Ones of any shape in the memory of one element."""
    return torch.ones((), dtype=dtype, device=like.device).expand(shape)


def divide_rows(table: Tensor, counts: Tensor) -> Tensor:
    """Rows of ``table`` (rows, D) divided by ``counts`` (rows, 1), or by 1 where the count is 0.

    Computed in float32 for 16-bit tables, whose dtypes cannot count far.
    """
    wide = table.to(accumulation_dtype(table))
    return (wide / counts.clamp(min=1).to(wide.dtype)).to(table.dtype)


def accumulation_dtype(tensor: Tensor) -> torch.dtype:
    """The dtype in which sums over ``tensor`` are held: float32 for 16-bit tensors."""
    return torch.float32 if tensor.dtype in (torch.float16, torch.bfloat16) else tensor.dtype
