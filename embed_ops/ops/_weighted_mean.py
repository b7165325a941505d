r"""The derivatives of the weighted mean's per-sample-weights gradient.

With :math:`q_j = g_{b(j)} \cdot W_{i_j}` and :math:`d = \sum_j w_j` (over the lookups of a bag that
count) the gradient of the weights is

.. math:: r_j = (q_j - \sum_k w_k q_k / d) / d

For a gradient :math:`R_j` of :math:`r_j`, with :math:`\rho = \sum_j R_j`, :math:`S = \sum_k w_k
q_k` and :math:`A = \sum_j R_j q_j`:

.. math::
    \partial / \partial q_j = R_j / d - w_j \rho / d^2, \qquad
    \partial / \partial w_j = (2 \rho S / d - A - \rho q_j) / d^2

:math:`q` is the gradient of the weights of a *sum*, so the first of these, taken as per-sample
weights of a sum, yields the derivatives by g and by W through the ops. All of it is made of
differentiable operations.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from ._autograd import accumulation_dtype


class Bags(Protocol):
    """Sums lookups to bags and spreads bags to lookups; lookups that do not count are left out.

    Both directions are differentiable.
    """

    def total(self, values: Tensor | None) -> Tensor:
        """Each bag's sum of ``values``, which has the shape of the lookups; None counts lookups."""

    def spread(self, values: Tensor) -> Tensor:
        """Each bag's value at each of its lookups, zero at those that do not count."""


def derivatives(
    make_bags: Callable[[Tensor], Bags],
    weights: Tensor,
    grad: Tensor,
    dot_products: Tensor | None,
) -> tuple[Tensor, Tensor | None]:
    """The derivatives by :math:`q` and, where ``dot_products`` are given, by :math:`w`.

    Args:
        make_bags: the bags of the call, for weights of the dtype it is given, which holds sums.
        weights: :math:`w`, the per-sample weights.
        grad: :math:`R`, of the shape of ``weights``.
        dot_products: :math:`q`, of the shape of ``weights``; zero at lookups that do not count.

    Returns:
        Tensors of the shape and the dtype of ``weights``.
    """
    w, r = (tensor.to(accumulation_dtype(weights)) for tensor in (weights, grad))
    bags = make_bags(w)
    # A bag without lookups that count has no divisor; 1 keeps NaN out of its derivatives.
    reciprocal = 1 / torch.where(bags.total(None) == 0, 1, bags.total(w))
    rho = bags.total(r)
    spread_rho = bags.spread(rho * reciprocal.square())
    by_dot_product = (bags.spread(reciprocal) * r - spread_rho * w).to(weights.dtype)
    if dot_products is None:
        return by_dot_product, None
    q = dot_products.to(w.dtype)
    constant = 2 * rho * bags.total(w * q) * reciprocal - bags.total(r * q)
    by_weight = bags.spread(constant * reciprocal.square()) - spread_rho * q
    return by_dot_product, by_weight.to(weights.dtype)
