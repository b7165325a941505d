"""Is a result right? Compared with float64, within what rounding in its own dtype can explain."""

from __future__ import annotations

import torch
from torch import Tensor

# In units of the machine epsilon of the result's dtype, relative to the sum of the magnitudes that
# were added up. 32-bit sums of hundreds of thousands of equal terms in any order stay far below;
# those of a few large and thousands of small ones, as the means of short and long bags are, come to
# a half. 16-bit results are given room for one rounding of a partial sum per tile, not for a sum
# kept in 16 bits.
ALLOWANCE = {torch.float64: 64.0, torch.float32: 16.0, torch.bfloat16: 4.0, torch.float16: 4.0}


class WrongResultError(Exception):
    """A peer computed something else than the reference."""


def require_close(
    name: str, got: Tensor, want: Tensor, scale: Tensor, allowance: float = 0
) -> float:
    """Raises unless every ``|got - want|`` is within rounding.

    Args:
        got: a peer's result, any dtype.
        want: the reference, float64, of the same shape.
        scale: the sum of the magnitudes that went into each value, float64, broadcastable.
        allowance: instead of the dtype's own in :data:`ALLOWANCE`.

    Returns:
        The largest error as a share of what is allowed, so at most 1.

    Raises:
        WrongResultError: another shape, a NaN, or an error that rounding does not explain.
    """
    if got.shape != want.shape:
        raise WrongResultError(f"{name}: shape {tuple(got.shape)}, expected {tuple(want.shape)}")
    if got.numel() == 0:
        return 0.0
    limits = torch.finfo(got.dtype)
    smallest = 4 * limits.smallest_normal * limits.eps
    allowed = (allowance or ALLOWANCE[got.dtype]) * limits.eps * scale + smallest
    shares = (got.double() - want).abs() / allowed
    worst = float(shares.max())
    if worst <= 1.0:
        return worst
    position = int(shares.reshape(-1).nan_to_num(nan=torch.inf).argmax())
    wrong = int((~(shares <= 1.0)).sum())
    found, expected = (float(tensor.reshape(-1)[position]) for tensor in (got, want))
    raise WrongResultError(
        f"{name}: {wrong} of {got.numel()} values are wrong, "
        f"e.g. {found!r} at position {position}, expected {expected!r}"
    )
