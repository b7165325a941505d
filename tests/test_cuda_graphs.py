"""CUDA graphs: capture forward and backward, replay them on new data, over the whole table."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from asserts import assert_gradients, assert_is_reference, assert_same_bits
from calls import (
    Arguments,
    call,
    floats,
    gradients_by_name,
    leaves,
    requiring_grad,
    run_in_new_process,
    tensors,
)
from samples import CAPTURABLE_SAMPLES, FORWARD_SAMPLES, Sample
from torch import Tensor

pytestmark = pytest.mark.gpu


def overwrite(arguments: Arguments, others: Arguments) -> None:
    """Gives the tensors that a graph reads the values of others."""
    with torch.no_grad():
        for old, new in zip(tensors(arguments), tensors(others), strict=True):
            old.copy_(new)


def warm_up(function: Any) -> None:
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        function()
    torch.cuda.current_stream().wait_stream(stream)


@pytest.mark.parametrize("deterministic", [False, True], ids=["default", "deterministic"])
@pytest.mark.parametrize("sample", FORWARD_SAMPLES, ids=str)
def test_forward_and_backward(sample: Sample, deterministic: bool) -> None:
    arguments = requiring_grad(sample.arguments("cuda", torch.float32))
    inputs = leaves(arguments)
    # Without a graph: one kept alive would tie the leaves to the default stream, which must not
    # meet the capturing one (torch warns of it).
    with torch.no_grad():
        (output,) = floats(call(sample.op, arguments))
    grad_output = torch.randn_like(output)

    def step() -> tuple[Any, tuple[Tensor, ...]]:
        result = call(sample.op, arguments)
        return result, torch.autograd.grad(floats(result), inputs, grad_output)

    torch.use_deterministic_algorithms(deterministic)
    try:
        warm_up(step)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            result, gradients = step()
    finally:
        torch.use_deterministic_algorithms(False)

    for seed in ("first", "second"):
        overwrite(arguments, sample.arguments("cuda", torch.float32, seed))
        grad_output.normal_()
        graph.replay()
        torch.cuda.synchronize()
        assert_is_reference(sample.op, arguments, result)
        assert_gradients(
            sample.op, arguments, grad_output, gradients_by_name(arguments, list(gradients))
        )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("sample", [s for s in CAPTURABLE_SAMPLES if s.large], ids=str)
def test_16_bit(sample: Sample, dtype: torch.dtype) -> None:
    arguments = sample.arguments("cuda", dtype)
    warm_up(lambda: call(sample.op, arguments))
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = call(sample.op, arguments)
    for _ in range(2):
        graph.replay()
        torch.cuda.synchronize()
        assert_is_reference(sample.op, arguments, result)


def test_some_samples_have_more_lookups_than_torch_can_capture() -> None:
    # torch's EmbeddingBag backward synchronises from 3,072 lookups on.
    for op in {sample.op for sample in FORWARD_SAMPLES}:
        counts = [s.arguments()["indices"].numel() for s in FORWARD_SAMPLES if s.op == op]
        assert max(counts) > 3072, op


def test_the_first_call_of_a_process_may_be_captured() -> None:
    """No op needs a warm-up: what it allocates for itself it may allocate during a capture."""
    program = """
import torch, embed_ops
weight = torch.ones(50, 8, device="cuda")
indices = torch.arange(4000, device="cuda") % 50
grad = torch.ones(4000, 8, device="cuda")
torch.cuda.synchronize()
graph = torch.cuda.CUDAGraph()
with torch.cuda.graph(graph):
    rows = torch.ops.embed_ops.embedding(weight, indices)
    gradient = torch.ops.embed_ops.embedding_dense_backward(grad, indices, 50)
graph.replay()
torch.cuda.synchronize()
embed_ops.check_errors()
assert rows.sum().item() == 32000 and gradient.eq(80).all().item()
print("captured")
"""
    run = run_in_new_process(program)
    assert run.stdout.strip() == "captured", run.stderr


def test_compiled_with_cuda_graphs(fresh_compiler: None) -> None:
    def model(weight: Tensor, indices: Tensor, weights: Tensor) -> Tensor:
        bags, _ = torch.ops.embed_ops.embedding_bag(weight, indices, per_sample_weights=weights)
        rows = torch.ops.embed_ops.embedding(weight, indices)
        return (bags + rows.sum(1)).square().mean()

    weight = torch.randn(300, 32, device="cuda", requires_grad=True)
    weights = torch.rand(128, 40, device="cuda").add(0.5).requires_grad_()
    compiled = torch.compile(model, mode="reduce-overhead", fullgraph=True)
    for _ in range(4):
        indices = torch.randint(300, (128, 40), device="cuda")
        torch.compiler.cudagraph_mark_step_begin()
        loss = compiled(weight, indices, weights)
        expected = model(weight, indices, weights)
        torch.testing.assert_close(loss, expected)
        # Copies: the graph's memory is used again by the next step.
        gradients = [g.clone() for g in torch.autograd.grad(loss, (weight, weights))]
        torch.testing.assert_close(
            gradients, list(torch.autograd.grad(expected, (weight, weights))), rtol=1e-4, atol=1e-5
        )


def test_deterministic_replays_have_the_same_bits() -> None:
    indices = torch.randint(50, (20_000,), device="cuda")
    grad_output = torch.randn(20_000, 33, device="cuda")

    def gradient() -> Tensor:
        return torch.ops.embed_ops.embedding_dense_backward(
            grad_output, indices, 50, deterministic=True
        )

    expected = gradient()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = gradient()
    for _ in range(10):
        result.zero_()
        graph.replay()
        assert_same_bits(result, expected)
