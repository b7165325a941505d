"""Gradient clipping that takes sparse gradients too; torch.nn.utils' own raises for any of them."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from .ops.sparse_gradient import coalesce


def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor],
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """:func:`torch.nn.utils.clip_grad_norm_` for parameters of which some have sparse gradients.

    A sparse gradient has the norm of its values, the rest of it being zeros.

    Args:
        parameters: whose gradients are scaled, in place, so that their common norm is at most
            ``max_norm``.
        max_norm, norm_type, error_if_nonfinite, foreach: as of torch's function.

    Returns:
        The norm of all gradients together, before.
    """
    return torch.nn.utils.clip_grad_norm_(
        _with_dense_gradients(parameters), max_norm, norm_type, error_if_nonfinite, foreach
    )


def clip_grad_value_(
    parameters: Tensor | Iterable[Tensor], clip_value: float, foreach: bool | None = None
) -> None:
    """:func:`torch.nn.utils.clip_grad_value_` for parameters of which some have sparse gradients.

    Args:
        parameters: whose gradients are clamped to [-clip_value, clip_value], in place.
        clip_value, foreach: as of torch's function.
    """
    torch.nn.utils.clip_grad_value_(_with_dense_gradients(parameters), clip_value, foreach)


def _with_dense_gradients(parameters: Tensor | Iterable[Tensor]) -> list[Tensor]:
    """The parameters; those with a sparse gradient as tensors whose gradient is its values."""
    if isinstance(parameters, Tensor):
        parameters = [parameters]
    return [_stand_in(p) if p.grad is not None and p.grad.is_sparse else p for p in parameters]


def _stand_in(parameter: Tensor) -> Tensor:
    gradient = parameter.grad
    assert gradient is not None
    if not gradient.is_coalesced():
        gradient = parameter.grad = coalesce(gradient)
    values = gradient._values()
    stand_in = values.detach()
    stand_in.grad = values
    return stand_in
