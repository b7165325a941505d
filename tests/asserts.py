"""Comparisons strong enough to notice one addition too few, too many, or in the wrong row.

A relative tolerance on a sum of many terms forgives a lost term, and an absolute one forgives
anything small. Here every element has the tolerance that its own terms earn: the rounding of the
result, plus the rounding of each addition of terms of that size, and none where nothing was added.
``tests/test_asserts.py`` takes single lookups away from every gradient sample and sees these fail.
"""

from __future__ import annotations

from typing import Any

import torch
from calls import outputs
from samples import BACKWARD
from torch import Tensor

from embed_ops import reference

# What the kernels add in: 16-bit types in float32.
ACCUMULATORS = {
    torch.float64: torch.float64,
    torch.float32: torch.float32,
    torch.float16: torch.float32,
    torch.bfloat16: torch.float32,
}


def assert_sums(actual: Tensor, expected: Tensor, magnitude: Tensor, terms: int) -> None:
    """``actual`` is ``expected``, up to the rounding of sums of at most ``terms`` terms.

    Args:
        actual: of any float dtype, on any device.
        expected: the float64 truth, of the same shape.
        magnitude: for each element the sum of the absolute values of its terms; where it is zero,
            ``actual`` must be zero to the bit. Broadcast to ``expected``.
        terms: the most additions that any element takes.
    """
    assert actual.shape == expected.shape, f"shape {actual.shape}, expected {expected.shape}"
    dtype = actual.dtype
    accumulator = ACCUMULATORS[dtype]
    got = actual.detach().cpu().double()
    want = expected.detach().cpu().double()
    tolerance = (terms + 4) * torch.finfo(accumulator).eps * magnitude.cpu().double()
    if dtype != accumulator:
        # Half a unit in the last place, and at the bottom of float16 half the smallest step.
        unit = torch.finfo(dtype).eps
        tolerance = tolerance + torch.where(
            magnitude.cpu() > 0,
            unit / 2 * want.abs() + torch.finfo(dtype).smallest_normal * unit,
            0,
        )
    # Written so that a NaN on one side only is wrong.
    right = ((got - want).abs() <= tolerance) | (got == want) | (got.isnan() & want.isnan())
    if not bool(right.all()):
        raise AssertionError(_difference(got, want, tolerance, ~right))


def assert_exact(actual: Tensor, expected: Tensor) -> None:
    """``actual`` is the float64 truth ``expected`` rounded once, to the bit.

    For data whose every partial sum is representable in the accumulator (small integers), where no
    order of additions rounds: then not one of a million additions may be missing.
    """
    assert actual.shape == expected.shape, f"shape {actual.shape}, expected {expected.shape}"
    got, want = actual.detach().cpu().double(), expected.detach().to(actual.dtype).cpu().double()
    wrong = got != want
    if bool(wrong.any()):
        raise AssertionError(_difference(got, want, torch.zeros_like(want), wrong))


def assert_same_bits(first: Any, second: Any) -> None:
    """Two tensors (or two sequences of tensors) are equal to the bit, NaN and -0.0 included."""
    if not isinstance(first, Tensor):
        assert len(first) == len(second)
        for a, b in zip(first, second, strict=True):
            assert_same_bits(a, b)
        return
    assert first.dtype == second.dtype, f"{first.dtype} and {second.dtype}"
    assert first.shape == second.shape, f"{first.shape} and {second.shape}"
    bytes_of_first = first.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
    bytes_of_second = second.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
    if not torch.equal(bytes_of_first, bytes_of_second):
        got, want = first.detach().cpu().double(), second.detach().cpu().double()
        raise AssertionError(_difference(got, want, torch.zeros_like(want), got != want))


def assert_is_reference(op: str, arguments: dict[str, Any], actual: Any) -> None:
    """``actual``, what ``op`` returned for ``arguments``, is what the reference says in float64."""
    exact = on_cpu(arguments, torch.float64)
    expected = outputs(getattr(reference, op)(**exact))
    actual = outputs(actual)
    magnitude = outputs(magnitudes(op, exact))
    terms = exact["indices"].numel() + _width(exact) if "indices" in exact else 0
    assert len(actual) == len(expected)
    for a, e, m in zip(actual, expected, magnitude, strict=True):
        if e.is_floating_point():
            assert_sums(a, e, m, terms)
        else:
            assert a.dtype == e.dtype, f"{a.dtype}, expected {e.dtype}"
            assert torch.equal(a.cpu(), e)


def assert_gradients(
    op: str, arguments: dict[str, Any], grad_output: Tensor, gradients: dict[str, Any]
) -> None:
    """``gradients``, by argument, are what the reference makes of ``grad_output`` for ``op``."""
    checked = set()
    for backward, gradient in BACKWARD.items():
        if gradient.forward == op and gradient.argument in gradients:
            derived = gradient.derive(on_cpu(arguments, grad_output.dtype), grad_output.cpu())
            assert derived is not None
            assert_is_reference(backward, derived, gradients[gradient.argument])
            checked.add(gradient.argument)
    assert checked == set(gradients)


def magnitudes(op: str, arguments: dict[str, Any]) -> Any:
    """What ``op`` returns if all its terms are added with their absolute values.

    Every op is a sum of products, so that is the op on absolute values. The gradient of the weights
    of a weighted mean alone subtracts; for it a bound in the same spirit.
    """
    positive = {name: _map(value, _absolute) for name, value in arguments.items()}
    if not op.endswith("per_sample_weights_backward") or arguments.get("mode", "mean") == "sum":
        return getattr(reference, op)(**positive)
    dot_products = getattr(reference, op)(**positive | {"mode": "sum"})
    if dot_products.numel() == 0:
        return dot_products
    # The lookup's own dot product and the weighted mean of its bag's, none above the largest; over
    # the sum of the weights, at least the smallest. Lookups that do not count stay at zero.
    bound = 2 * dot_products.amax() / positive["per_sample_weights"].amin()
    return torch.where(dot_products > 0, bound, 0)


def on_cpu(arguments: dict[str, Any], dtype: torch.dtype) -> dict[str, Any]:
    """Copies on the CPU; floats as ``dtype``."""

    def copy(tensor: Tensor) -> Tensor:
        tensor = tensor.detach().cpu().clone()
        return tensor.to(dtype) if tensor.is_floating_point() else tensor

    return {name: _map(value, copy) for name, value in arguments.items()}


def _absolute(tensor: Tensor) -> Tensor:
    return tensor.abs() if tensor.is_floating_point() else tensor


def _map(value: Any, function: Any) -> Any:
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, list | tuple):
        return type(value)(_map(item, function) for item in value)
    return value


def _width(arguments: dict[str, Any]) -> int:
    if "weights" in arguments:
        return max(table.shape[1] for table in arguments["weights"])
    if "embedding_dims" in arguments:
        return max(arguments["embedding_dims"])
    table = arguments.get("weight", arguments.get("grad_output"))
    return 1 if table is None else int(table.shape[-1])


def _difference(got: Tensor, want: Tensor, tolerance: Tensor, wrong: Tensor) -> str:
    if not bool(wrong.any()):
        return "the values are equal, their bits are not (-0.0 or NaN)"
    tolerance = tolerance.expand_as(want)
    position = tuple(int(i) for i in wrong.nonzero()[0])
    return (
        f"{int(wrong.sum())} of {wrong.numel()} elements are wrong; the first, at {position}: "
        f"got {float(got[position])!r}, expected {float(want[position])!r} "
        f"within {float(tolerance[position])!r}"
    )
