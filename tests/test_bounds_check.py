"""``embed_ops.bounds_check``: rows out of range that are ignored, and how long a mode lasts."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from asserts import assert_is_reference, assert_same_bits
from calls import Arguments, as_function_of_leaves, call, copies, raised, tensors
from right_arguments import NAMING_ROWS
from samples import DIFFERENTIABLE_SAMPLES, PURE_SAMPLES, Sample

import embed_ops

BAG_OPTIONS = ("indices", "offsets", "mode", "include_last_offset", "padding_idx")


def with_rows_that_do_not_exist(arguments: Arguments) -> Arguments:
    """To be called where these are ignored."""
    indices = arguments["indices"].clone()
    flat = indices.view(-1)
    flat[::3] = -1
    flat[1::5] = torch.iinfo(indices.dtype).max
    arguments = arguments | {"indices": indices}
    if "argmax" in arguments and arguments.get("mode") == "max":
        # The winners are among the rows that are left.
        bag = {name: arguments[name] for name in BAG_OPTIONS if name in arguments}
        grad_output = arguments["grad_output"]
        weight = torch.rand(arguments["num_weights"], grad_output.shape[1]).to(grad_output)
        _, argmax = torch.ops.embed_ops.embedding_bag(weight, **bag)
        arguments["argmax"] = argmax
    return arguments


@pytest.fixture
def ignored() -> Iterator[None]:
    with embed_ops.bounds_check("ignore"):
        yield


@pytest.mark.parametrize("index_dtype", [torch.int32, torch.int64], ids=str)
@pytest.mark.parametrize("sample", [s for s in PURE_SAMPLES if s.op in NAMING_ROWS], ids=str)
def test_ignored_rows_read_as_zeros_and_do_not_count(
    sample: Sample, index_dtype: torch.dtype, device: str, ignored: None
) -> None:
    arguments = with_rows_that_do_not_exist(
        sample.arguments(device, torch.float32, index_dtype=index_dtype)
    )
    before = copies(arguments)
    assert_is_reference(sample.op, arguments, call(sample.op, arguments))
    assert_same_bits(tensors(arguments), before)
    embed_ops.check_errors()


FAITHFUL = [sample for sample in DIFFERENTIABLE_SAMPLES if sample.faithful and not sample.large]


@pytest.mark.parametrize("sample", FAITHFUL[::3], ids=str)
def test_gradients_around_ignored_rows(sample: Sample, device: str, ignored: None) -> None:
    arguments = with_rows_that_do_not_exist(sample.arguments(device, torch.float64))
    function, inputs = as_function_of_leaves(sample.op, arguments)
    how = {"nondet_tol": 1e-12, "fast_mode": device == "cuda"}
    assert torch.autograd.gradcheck(function, inputs, **how)
    assert torch.autograd.gradgradcheck(function, inputs, **how)


def test_ignored_rows_are_not_renormalised(device: str, ignored: None) -> None:
    weight = torch.ones(3, 4, device=device)
    torch.ops.embed_ops.embedding_renorm_(weight, torch.tensor([-1, 3, 1], device=device), 1.0)
    assert weight.eq(1).all(dim=1).tolist() == [True, False, True]


def test_ignored_offsets_are_clamped(device: str, ignored: None) -> None:
    weight = torch.arange(1.0, 9.0, device=device)[:, None]
    indices = torch.arange(8, device=device)
    offsets = torch.tensor([-3, 2, 100, 5, 2**40], device=device)
    output, _ = torch.ops.embed_ops.embedding_bag(weight, indices, offsets, mode="sum")
    # Bags [0, 2), [2, 8), none, [5, 8), none.
    assert output.flatten().tolist() == [3.0, 33.0, 0.0, 21.0, 0.0]
    embed_ops.check_errors()


def test_bounds_check_lasts_as_long_as_its_with_statement() -> None:
    bad = {"weight": torch.ones(2, 1), "indices": torch.tensor([5])}
    with embed_ops.bounds_check("ignore"):
        assert call("embedding", bad).tolist() == [[0.0]]
        with embed_ops.bounds_check("raise"):
            assert type(raised("embedding", bad)) is IndexError
        assert call("embedding", bad).tolist() == [[0.0]]
    assert type(raised("embedding", bad)) is IndexError


def test_bounds_check_without_with_lasts() -> None:
    bad = {"weight": torch.ones(2, 1), "indices": torch.tensor([5])}
    embed_ops.bounds_check("ignore")
    try:
        assert call("embedding", bad).tolist() == [[0.0]]
    finally:
        embed_ops.bounds_check("raise")


def test_bounds_check_refuses_other_modes() -> None:
    with pytest.raises(ValueError) as caught:
        embed_ops.bounds_check("warn")
    assert str(caught.value) == (
        "embed_ops.bounds_check: mode: expected 'raise', 'assert' or 'ignore', got 'warn'"
    )
