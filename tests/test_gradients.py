"""Gradients of every order: by finite differences, and against the reference's formulas."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from asserts import assert_gradients, assert_same_bits
from calls import (
    DIFFERENTIABLE,
    Arguments,
    as_function_of_leaves,
    call,
    floats,
    gradients_by_name,
    leaves,
    requiring_grad,
)
from samples import (
    DIFFERENTIABLE_SAMPLES,
    FLOAT_DTYPES,
    FORWARD_SAMPLES,
    Draw,
    Recipe,
    Sample,
    csr,
    tables,
)
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck


def how(sample: Sample, device: str) -> dict[str, Any]:
    """Atomic additions end in any order. Fast mode compares one random combination of all elements
    instead of each, for what is large and where every element would take launches of its own."""
    return {"nondet_tol": 1e-12, "fast_mode": sample.large or device == "cuda"}


@pytest.mark.parametrize("sample", [s for s in DIFFERENTIABLE_SAMPLES if s.faithful], ids=str)
def test_gradcheck(sample: Sample, device: str) -> None:
    function, inputs = as_function_of_leaves(sample.op, sample.arguments(device, torch.float64))
    assert gradcheck(function, inputs, **how(sample, device))


@pytest.mark.parametrize("sample", DIFFERENTIABLE_SAMPLES, ids=str)
def test_gradgradcheck(sample: Sample, device: str) -> None:
    function, inputs = as_function_of_leaves(sample.op, sample.arguments(device, torch.float64))
    assert gradgradcheck(function, inputs, **how(sample, device))


def gradients_of(op: str, arguments: Arguments) -> tuple[Tensor, dict[str, Any]]:
    """A gradient for the output, and what it makes of the arguments'."""
    (output,) = floats(call(op, arguments))
    grad_output = torch.randn_like(output)
    gradients = torch.autograd.grad(output, leaves(arguments), grad_output)
    return grad_output, gradients_by_name(arguments, list(gradients))


@pytest.mark.parametrize("dtype", FLOAT_DTYPES, ids=str)
@pytest.mark.parametrize("sample", FORWARD_SAMPLES, ids=str)
def test_gradients_are_the_references(sample: Sample, dtype: torch.dtype, device: str) -> None:
    arguments = requiring_grad(sample.arguments(device, dtype))
    grad_output, gradients = gradients_of(sample.op, arguments)
    assert_gradients(sample.op, arguments, grad_output, gradients)


TALL = 2**19
LENGTHS = [100, 0, 3, *[90] * 12]
# Of the packed tables the last, which a second launch takes, begins at an odd element.
PACKED = [10_001, *[10] * 95, TALL]


@pytest.mark.parametrize("deterministic", [False, True], ids=["default", "deterministic"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(
    ("op", "recipe"),
    [
        ("embedding_bag", csr(TALL, 5, LENGTHS, mode="max", padding_idx=3)),
        ("embedding_bag", csr(TALL, 5, LENGTHS, weighted=True, mode="mean", padding_idx=3)),
        ("multi_embedding", tables(PACKED, [3] * len(PACKED), 16)),
        ("embedding_bag", csr(300_000, 33, LENGTHS * 5, mode="max", padding_idx=3)),
        ("embedding_bag", csr(300_000, 33, LENGTHS * 5, weighted=True, mode="mean")),
        ("multi_embedding", tables([200_000, 7, 150_001], [32, 3, 17], 1700)),
    ],
    ids=["max", "weighted mean", "packed tables", "many max", "many weighted mean", "many packed"],
)
def test_gradients_of_tall_tables(
    op: str, recipe: Recipe, dtype: torch.dtype, deterministic: bool, device: str
) -> None:
    arguments = recipe(Draw("tall", device, dtype))
    if op == "embedding_bag":
        arguments["indices"] %= 40  # Bags name rows more than once.
    arguments = requiring_grad(arguments)
    torch.use_deterministic_algorithms(deterministic)
    try:
        grad_output, gradients = gradients_of(op, arguments)
    finally:
        torch.use_deterministic_algorithms(False)
    assert_gradients(op, arguments, grad_output, gradients)


@pytest.mark.parametrize("sample", FORWARD_SAMPLES, ids=str)
def test_only_what_requires_a_gradient_gets_one(sample: Sample, device: str) -> None:
    for name in DIFFERENTIABLE:
        arguments = sample.arguments(device, torch.float32)
        if name not in arguments:
            continue
        arguments |= requiring_grad({name: arguments[name]})
        (output,) = floats(call(sample.op, arguments))
        output.sum().backward()
        for other, value in arguments.items():
            for tensor in value if isinstance(value, list) else [value]:
                if isinstance(tensor, Tensor):
                    assert (tensor.grad is not None) == (other == name)


@pytest.mark.parametrize(
    "sample", [s for s in FORWARD_SAMPLES if "weights" in s.arguments()], ids=str
)
def test_some_of_a_list_may_require_a_gradient(sample: Sample, device: str) -> None:
    arguments = requiring_grad(sample.arguments(device, torch.float64))
    every = call(sample.op, arguments)
    grad_output = torch.randn_like(every)
    expected = torch.autograd.grad(every, arguments["weights"], grad_output)
    for number, table in enumerate(arguments["weights"]):
        table.requires_grad_(number % 2 == 0)
    output = call(sample.op, arguments)
    some = torch.autograd.grad(output, arguments["weights"][::2], grad_output)
    for gradient, wanted in zip(some, expected[::2], strict=True):
        torch.testing.assert_close(gradient, wanted)


@pytest.mark.parametrize("sample", FORWARD_SAMPLES, ids=str)
def test_deterministic_algorithms_give_the_same_bits(sample: Sample, device: str) -> None:
    arguments = requiring_grad(sample.arguments(device, torch.float32))
    (output,) = floats(call(sample.op, arguments))
    grad_output = torch.randn_like(output)
    torch.use_deterministic_algorithms(True)
    try:
        runs = [
            torch.autograd.grad(output, leaves(arguments), grad_output, retain_graph=True)
            for _ in range(5)
        ]
    finally:
        torch.use_deterministic_algorithms(False)
    for run in runs[1:]:
        assert_same_bits(runs[0], run)
    assert_gradients(sample.op, arguments, grad_output, gradients_by_name(arguments, list(runs[0])))


def test_backward_asks_for_determinism_when_it_runs(device: str) -> None:
    """Not when the forward ran: the setting may change in between."""
    weight = torch.randn(4, 3, device=device, requires_grad=True)
    output = torch.ops.embed_ops.embedding(weight, torch.tensor([1, 1], device=device))
    seen = []

    class Recorder(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            if func is torch.ops.embed_ops.embedding_dense_backward.default:
                seen.append(
                    args[5] if len(args) > 5 else (kwargs or {}).get("deterministic", False)
                )
            return func(*args, **(kwargs or {}))

    for wanted in (True, False):
        torch.use_deterministic_algorithms(wanted)
        try:
            with Recorder():
                output.sum().backward(retain_graph=True)
        finally:
            torch.use_deterministic_algorithms(False)
    assert seen == [True, False]
