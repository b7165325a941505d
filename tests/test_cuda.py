"""What only a GPU can get wrong: synchronisation, streams, devices, 64-bit addresses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from asserts import assert_exact, assert_gradients, assert_is_reference, assert_same_bits
from calls import call, floats, gradients_by_name, leaves, requiring_grad
from samples import FORWARD_SAMPLES, PURE_SAMPLES, Sample
from torch import Tensor

pytestmark = pytest.mark.gpu

GIB = 2**30


@contextmanager
def synchronisation_fails() -> Iterator[None]:
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("deterministic", [False, True], ids=["default", "deterministic"])
@pytest.mark.parametrize("sample", FORWARD_SAMPLES, ids=str)
def test_nothing_synchronises(sample: Sample, deterministic: bool) -> None:
    arguments = requiring_grad(sample.arguments("cuda", torch.float32))
    torch.use_deterministic_algorithms(deterministic)
    try:
        with synchronisation_fails():
            (output,) = floats(call(sample.op, arguments))
            ones = torch.ones_like(output, requires_grad=True)
            first = torch.autograd.grad(output, leaves(arguments), ones, create_graph=True)
            torch.autograd.grad(first, ones, [torch.ones_like(gradient) for gradient in first])
    finally:
        torch.use_deterministic_algorithms(False)


def test_the_host_runs_ahead() -> None:
    """Whatever torch's debug mode does not see: a call returns while the stream is still busy."""
    weight = torch.randn(1000, 64, device="cuda", requires_grad=True)
    indices = torch.randint(1000, (5000,), device="cuda")
    weights = torch.rand(5000, device="cuda")
    offsets = torch.arange(0, 5000, 10, device="cuda")

    def step() -> None:
        rows = torch.ops.embed_ops.embedding(weight, indices)
        bags, _ = torch.ops.embed_ops.embedding_bag(
            weight, indices, offsets, mode="sum", per_sample_weights=weights
        )
        (rows.sum() + bags.sum()).backward()

    for _ in range(3):
        step()  # The first calls load kernels and fill the allocator, which may wait.
    torch.cuda.synchronize()
    done = torch.cuda.Event()
    torch.cuda._sleep(2_000_000_000)
    step()
    done.record()
    assert not done.query()
    done.synchronize()


@pytest.mark.parametrize("sample", PURE_SAMPLES[::5], ids=str)
def test_the_current_stream_is_used(sample: Sample) -> None:
    """Inputs that a side stream has yet to write: a kernel on any other stream reads old data."""
    arguments = sample.arguments("cuda", torch.float32)
    fresh = {
        name: value.clone()
        for name, value in arguments.items()
        if isinstance(value, Tensor) and value.is_floating_point()
    }
    for name in fresh:
        arguments[name].fill_(123.0)
    call(sample.op, arguments)  # The first call loads kernels, which may wait.
    torch.cuda.synchronize()
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        torch.cuda._sleep(50_000_000)
        for name, value in fresh.items():
            arguments[name].copy_(value)
        result = call(sample.op, arguments)
    torch.cuda.synchronize()
    assert_is_reference(sample.op, arguments, result)


def test_the_backward_runs_on_the_stream_of_the_forward() -> None:
    weight = torch.randn(100, 16, device="cuda", requires_grad=True)
    indices = torch.randint(100, (4000,), device="cuda")
    grad_output = torch.full((4000, 16), 7.0, device="cuda")
    torch.ops.embed_ops.embedding(weight, indices).backward(grad_output)
    weight.grad = None
    torch.cuda.synchronize()
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        output = torch.ops.embed_ops.embedding(weight, indices)
        torch.cuda._sleep(50_000_000)
        grad_output.fill_(1.0)
        (gradient,) = torch.autograd.grad(output, weight, grad_output)
    torch.cuda.synchronize()
    counts = torch.bincount(indices, minlength=100)[:, None].expand(100, 16)
    assert_exact(gradient, counts.double())


def test_deterministic_gradients_are_the_same_on_every_stream() -> None:
    indices = (torch.rand(50_000, device="cuda").pow(6) * 3000).long()
    grad_output = torch.randn(50_000, 40, device="cuda")

    def gradient() -> Tensor:
        return torch.ops.embed_ops.embedding_dense_backward(
            grad_output, indices, 3000, deterministic=True
        )

    expected = gradient()
    torch.cuda.synchronize()
    results = []
    for _ in range(25):
        with torch.cuda.stream(torch.cuda.Stream()):
            results += [gradient(), gradient()]
    torch.cuda.synchronize()
    for result in results:
        assert_same_bits(result, expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("deterministic", [False, True], ids=["default", "deterministic"])
def test_nothing_is_left_of_the_factors_of_an_earlier_call(
    deterministic: bool, dtype: torch.dtype
) -> None:
    """Factors lie in shared memory, which no kernel finds cleared; the last tile is not full."""
    count, rows, width = 270_339, 50, 12
    indices = torch.arange(count, device="cuda") % rows
    offsets = torch.arange(0, count, 5, device="cuda")
    grad_output = torch.ones(offsets.numel(), width, device="cuda", dtype=dtype)
    no_argmax = indices.new_empty(0)

    def gradient(lookups: int, weights: Tensor | None) -> Tensor:
        bags = -(-lookups // 5)
        return torch.ops.embed_ops.embedding_bag_dense_backward(
            *(grad_output[:bags], indices[:lookups], offsets[:bags], weights, no_argmax, rows),
            *(False, "sum", False, -1, deterministic),
        )

    not_a_number = torch.full((count,), torch.nan, device="cuda", dtype=dtype)
    for lookups in (count, 8195):
        full_tiles = lookups - 3
        gradient(full_tiles, not_a_number[:full_tiles])
        counts = indices[:lookups].bincount(minlength=rows)[:, None].expand(-1, width)
        torch.testing.assert_close(gradient(lookups, None), counts.to(dtype))


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
@pytest.mark.parametrize("sample", FORWARD_SAMPLES[::3], ids=str)
def test_a_device_that_is_not_the_current_one(sample: Sample) -> None:
    assert torch.cuda.current_device() == 0
    arguments = requiring_grad(sample.arguments("cuda:1", torch.float32))
    result = call(sample.op, arguments)
    (output,) = floats(result)
    assert output.device == torch.device("cuda:1")
    grad_output = torch.randn_like(output)
    gradients = torch.autograd.grad(output, leaves(arguments), grad_output)
    assert torch.cuda.current_device() == 0
    torch.cuda.synchronize(1)
    assert_is_reference(sample.op, arguments, result)
    assert_gradients(
        sample.op, arguments, grad_output, gradients_by_name(arguments, list(gradients))
    )


# --------------------------------------------------------------------------------------------------
# More than 2^31 elements. Rows are compared where it matters and counted elsewhere, on the device.

WIDTH = 256
ROWS = 2**31 // WIDTH + 5


def needs_memory(size: float) -> pytest.MarkDecorator:
    total = torch.cuda.get_device_properties(0).total_memory if torch.cuda.is_available() else 0
    return pytest.mark.skipif(total < size * GIB, reason=f"needs {size:g} GiB of device memory")


@pytest.fixture
def empty_cache() -> Iterator[None]:
    torch.cuda.empty_cache()
    yield
    torch.cuda.empty_cache()


def non_zero_rows(gradient: Tensor) -> list[int]:
    """Found in pieces: a mask of the whole would need as many bytes as it has elements."""
    found = []
    for start in range(0, gradient.shape[0], 2**20):
        touched = gradient[start : start + 2**20].ne(0).any(dim=1).nonzero().flatten()
        found += (touched + start).tolist()
    return found


@needs_memory(30)
@pytest.mark.parametrize("index_dtype", [torch.int32, torch.int64], ids=str)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
def test_a_table_of_more_than_2_to_the_31_elements(
    dtype: torch.dtype, index_dtype: torch.dtype, empty_cache: None
) -> None:
    weight = torch.zeros(ROWS, WIDTH, dtype=dtype, device="cuda")
    rows = [ROWS - 1, ROWS - 2, 0, 7, ROWS // 2]
    for number, row in enumerate(rows):
        weight[row] = number + 1
    indices = torch.tensor(rows, dtype=index_dtype, device="cuda")
    values = torch.arange(1.0, 6.0, dtype=torch.float64)[:, None].expand(5, WIDTH)

    assert_exact(torch.ops.embed_ops.embedding(weight, indices), values)
    bags, _ = torch.ops.embed_ops.embedding_bag(weight, indices[None], mode="sum")
    assert_exact(bags, values.sum(0, keepdim=True))
    largest, argmax = torch.ops.embed_ops.embedding_bag(weight, indices[None], mode="max")
    assert_exact(largest, values[-1:])
    assert argmax.eq(rows[-1]).all()
    del weight

    repeated = indices.repeat(1000)
    for deterministic in (False, True):
        gradient = torch.ops.embed_ops.embedding_dense_backward(
            values.to("cuda", dtype).repeat(1000, 1), repeated, ROWS, deterministic=deterministic
        )
        assert gradient.shape == (ROWS, WIDTH)
        assert_exact(gradient[indices.long()], values * 1000)
        assert non_zero_rows(gradient) == sorted(rows)
        del gradient
    gradient = torch.ops.embed_ops.embedding_bag_dense_backward(
        values[:1].to("cuda", dtype), indices[None], None, None, indices[:0], ROWS, mode="sum"
    )
    assert_exact(gradient[indices.long()], values[:1].expand(5, WIDTH))
    assert non_zero_rows(gradient) == sorted(rows)
    del gradient
    gradient = torch.ops.embed_ops.embedding_bag_dense_backward(
        values[:1].to("cuda", dtype), indices[None], None, None, argmax, ROWS, mode="max"
    )
    assert_exact(gradient[rows[-1]], values[0])
    assert non_zero_rows(gradient) == [rows[-1]]


@needs_memory(30)
def test_an_output_of_more_than_2_to_the_31_elements(empty_cache: None) -> None:
    weight = torch.arange(1.0, 4.0, device="cuda").to(torch.bfloat16)[:, None].repeat(1, WIDTH)
    indices = torch.zeros(ROWS, dtype=torch.int64, device="cuda")
    indices[-1], indices[ROWS // 2] = 2, 1
    output = torch.ops.embed_ops.embedding(weight, indices)
    assert output.shape == (ROWS, WIDTH)
    expected = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)[:, None].expand(3, WIDTH)
    assert_exact(output[[0, ROWS // 2, ROWS - 1]], expected)
    output.sub_(1)
    assert non_zero_rows(output) == [ROWS // 2, ROWS - 1]

    # And its gradient: of all zeros but two rows.
    gradient = torch.ops.embed_ops.embedding_dense_backward(output, indices, 3)
    assert_exact(
        gradient, torch.tensor([0.0, 1.0, 2.0], dtype=torch.float64)[:, None].expand(3, WIDTH)
    )


@needs_memory(30)
def test_many_tables_of_more_than_2_to_the_31_elements_together(empty_cache: None) -> None:
    """Packed, the second table begins behind 2^31 elements; padded, the last rows lie there."""
    sizes, widths = [ROWS, 100], [WIDTH, 12]
    weight = torch.zeros(ROWS * WIDTH + 1200, dtype=torch.bfloat16, device="cuda")
    weight[-12:], weight[-1200:-1188], weight[:WIDTH] = 3.0, 2.0, 1.0
    weight[-1200 - WIDTH : -1200] = 4.0
    indices = torch.tensor([[0, 99], [ROWS - 1, 0]], device="cuda")
    output = torch.ops.embed_ops.multi_embedding(weight, indices, sizes, widths)
    expected = torch.cat(
        [
            torch.tensor([[1.0], [4.0]]).expand(2, WIDTH),
            torch.tensor([[3.0], [2.0]]).expand(2, 12),
        ],
        dim=1,
    ).double()
    assert_exact(output, expected)
    del weight
    gradient = torch.ops.embed_ops.multi_embedding_dense_backward(output, indices, sizes, widths)
    assert gradient.shape == (ROWS * WIDTH + 1200,)
    assert_exact(gradient[-12:], torch.full((12,), 3.0).double())
    assert_exact(gradient[-1200:-1188], torch.full((12,), 2.0).double())
    assert_exact(gradient[-1200 - WIDTH : -1200], torch.full((WIDTH,), 4.0).double())
    assert gradient[-1188:-12].count_nonzero() == 0
    assert non_zero_rows(gradient[:-1200].view(ROWS, WIDTH)) == [0, ROWS - 1]
    del gradient
    gradient = torch.ops.embed_ops.multi_embedding_dense_backward(
        output, indices, sizes, widths, padded=True
    )
    assert gradient.shape == (ROWS, WIDTH + 12)
    assert non_zero_rows(gradient) == [0, 99, ROWS - 1]
    assert_exact(gradient[99], torch.cat([torch.zeros(WIDTH), torch.full((12,), 3.0)]).double())
