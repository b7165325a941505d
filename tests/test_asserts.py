"""The comparisons of asserts.py notice what they are there to notice."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from asserts import (
    assert_exact,
    assert_is_reference,
    assert_same_bits,
    assert_sums,
    magnitudes,
    on_cpu,
)
from samples import SAMPLES, Sample
from torch import Tensor

from embed_ops import reference

DENSE_BACKWARD_SAMPLES = [
    sample for op, samples in SAMPLES.items() if op.endswith("dense_backward") for sample in samples
]
DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]


def gradients(sample: Sample, arguments: dict[str, Any]) -> list[Tensor]:
    """The reference in float64, as a list for every op."""
    result = getattr(reference, sample.op)(**on_cpu(arguments, torch.float64))
    return result if isinstance(result, list) else [result]


def check(sample: Sample, arguments: dict[str, Any], result: list[Tensor]) -> None:
    """``result`` stands for what a kernel returned; rounded once, to the dtype of the sample."""
    rounded = [tensor.to(arguments["grad_output"].dtype) for tensor in result]
    is_list = sample.op == "multi_embedding_list_dense_backward"
    assert_is_reference(sample.op, arguments, rounded if is_list else rounded[0])


def additions(sample: Sample, arguments: dict[str, Any]) -> list[tuple[int, int, float]]:
    """Some of the additions that make up the gradient: (table, element of it, value).

    A gradient is linear in grad_output: with all but one bag's row of it zero, what is left is what
    this bag adds.
    """
    grad_output = arguments["grad_output"]
    rows = grad_output.reshape(-1, grad_output.shape[-1])
    found = []
    for bag in sorted({0, len(rows) // 3, len(rows) - 1} & set(range(len(rows)))):
        alone = torch.zeros_like(rows)
        alone[bag] = rows[bag]
        added = gradients(sample, arguments | {"grad_output": alone.reshape(grad_output.shape)})
        for table, tensor in enumerate(added):
            elements = tensor.reshape(-1)
            if elements.any():
                element = int(elements.abs().where(elements != 0, torch.inf).argmin())
                found.append((table, element, float(elements[element])))
    return found


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("sample", DENSE_BACKWARD_SAMPLES, ids=str)
def test_a_flawless_gradient_passes(sample: Sample, dtype: torch.dtype) -> None:
    arguments = sample.arguments(dtype=dtype)
    check(sample, arguments, gradients(sample, arguments))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("sample", DENSE_BACKWARD_SAMPLES, ids=str)
def test_one_addition_lost_doubled_or_misplaced_fails(sample: Sample, dtype: torch.dtype) -> None:
    """To one element of one row: what one missing or stray atomic does."""
    arguments = sample.arguments(dtype=dtype)
    flawless = gradients(sample, arguments)
    for table, element, value in additions(sample, arguments):
        size = flawless[table].numel()
        lost, doubled = (element, -value), (element, value)
        elsewhere = ((element + 1) % size, value)
        for changes in ([lost], [doubled], [lost, elsewhere] if size > 1 else [lost]):
            damaged = [tensor.clone() for tensor in flawless]
            for position, change in changes:
                damaged[table].reshape(-1)[position] += change
            if torch.equal(damaged[table].to(dtype), flawless[table].to(dtype)):
                continue  # Lost in the rounding of the result: nothing could tell.
            with pytest.raises(AssertionError, match="wrong"):
                check(sample, arguments, damaged)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("sample", DENSE_BACKWARD_SAMPLES, ids=str)
def test_a_trace_where_nothing_is_added_fails(sample: Sample, dtype: torch.dtype) -> None:
    arguments = sample.arguments(dtype=dtype)
    flawless = gradients(sample, arguments)
    magnitude = magnitudes(sample.op, on_cpu(arguments, torch.float64))
    sizes = magnitude if isinstance(magnitude, list) else [magnitude]
    for table, size in enumerate(sizes):
        for element in (size.reshape(-1) == 0).nonzero()[:1]:
            damaged = [tensor.clone() for tensor in flawless]
            damaged[table].reshape(-1)[element] = torch.finfo(dtype).tiny
            with pytest.raises(AssertionError, match="wrong"):
                check(sample, arguments, damaged)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("count", [1, 64, 4096, 262_144])
def test_exact_sees_one_of_very_many(dtype: torch.dtype, count: int) -> None:
    # Small integers that nearly cancel: every partial sum is exact, and the result fits 16 bits.
    additions = torch.arange(count) % 7 - 3
    expected = additions.double().sum()[None]
    assert_exact(expected.to(dtype), expected)
    for wrong in (expected + 1, expected - 1):
        with pytest.raises(AssertionError, match="elements are wrong"):
            assert_exact(wrong.to(dtype), expected)


def test_nan_and_infinity_must_be_where_they_belong() -> None:
    value, nan, inf = torch.tensor([1.0]), torch.tensor([torch.nan]), torch.tensor([torch.inf])
    for good in (value, nan, inf):
        assert_sums(good, good.double(), value, 1)
    for wrong in (nan, inf, -inf):
        with pytest.raises(AssertionError, match="elements are wrong"):
            assert_sums(wrong, value.double(), value, 1)
        with pytest.raises(AssertionError, match="elements are wrong"):
            assert_exact(wrong, value.double())
    with pytest.raises(AssertionError, match="elements are wrong"):
        assert_sums(value, nan.double(), value, 1)


def test_shapes_are_compared_and_not_broadcast() -> None:
    row, matrix = torch.zeros(3), torch.zeros(2, 3)
    for comparison in (assert_exact, assert_same_bits):
        with pytest.raises(AssertionError, match=r"shape|Size"):
            comparison(row, matrix)
    with pytest.raises(AssertionError, match="shape"):
        assert_sums(row, matrix, matrix, 1)


def test_same_bits_tells_zeros_apart_and_takes_nan_for_itself() -> None:
    zero, nan = torch.zeros(1), torch.tensor([torch.nan])
    assert_same_bits([zero, nan], [zero.clone(), nan.clone()])
    with pytest.raises(AssertionError, match="bits"):
        assert_same_bits(zero, -zero)
    with pytest.raises(AssertionError, match="float64"):
        assert_same_bits(zero, zero.double())
