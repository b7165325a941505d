"""The index transforms: against numpy on random input, their ways back, and in compiled code."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from asserts import assert_same_bits
from calls import call, outputs, positional, run_in_new_process
from samples import EXACT, FLOAT_DTYPES, TRANSFORMS, Sample
from torch import Tensor

import embed_ops
from embed_ops import index_transforms

hypothesis = pytest.importorskip("hypothesis")
from hypothesis import given  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

INDEX_DTYPES = (torch.int32, torch.int64)
TRANSFORM_SAMPLES = [sample for samples in TRANSFORMS.values() for sample in samples]


@st.composite
def bags(draw: Any) -> dict[str, Any]:
    """Lookups in bags, some behind the last one."""
    lengths = draw(st.lists(st.one_of(st.integers(0, 4), st.integers(0, 300)), max_size=20))
    count = sum(lengths) + draw(st.integers(0, 5))
    seed = draw(st.integers(0, 2**32 - 1))
    rows = draw(st.one_of(st.integers(1, 4), st.integers(5, 5000), st.just(2**31 - 1)))
    generator = np.random.default_rng(seed)
    return {
        "lengths": lengths,
        "rows": rows,
        "indices": generator.integers(rows, size=count),
        "weights": generator.random(count, dtype=np.float32),
        "padding_idx": draw(st.one_of(st.none(), st.integers(0, min(rows, 4) - 1))),
        "index_dtype": draw(st.sampled_from(INDEX_DTYPES)),
        "offset_dtype": draw(st.sampled_from(INDEX_DTYPES)),
    }


def numpy_row_ids(lengths: list[int], count: int) -> np.ndarray:
    row_ids = np.repeat(np.arange(len(lengths)), lengths)
    return np.concatenate([row_ids, np.full(count - row_ids.size, -1)])


@given(given_bags=bags())
def test_row_ids_and_back(device: str, given_bags: dict[str, Any]) -> None:
    lengths, count = given_bags["lengths"], given_bags["indices"].size
    ends = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    offsets = torch.tensor(ends, dtype=given_bags["offset_dtype"], device=device)
    row_ids = index_transforms.row_ids_from_csr(offsets, count, include_last_offset=True)
    assert row_ids.dtype == offsets.dtype
    np.testing.assert_array_equal(row_ids.cpu(), numpy_row_ids(lengths, count))
    for last in (False, True):
        back = index_transforms.offsets_from_row_ids(row_ids, len(lengths), last)
        assert_same_bits(back, offsets if last else offsets[:-1])


@given(batch=st.integers(0, 300), hotness=st.integers(0, 70), dtype=st.sampled_from(INDEX_DTYPES))
def test_row_ids_of_fixed_hotness(
    device: str, batch: int, hotness: int, dtype: torch.dtype
) -> None:
    indices = torch.empty(batch, hotness, dtype=dtype, device=device)
    row_ids = index_transforms.row_ids_from_fixed(indices)
    assert row_ids.dtype == dtype
    np.testing.assert_array_equal(row_ids.cpu(), np.repeat(np.arange(batch), hotness))


@given(given_bags=bags())
def test_transpose_and_compress(device: str, given_bags: dict[str, Any]) -> None:
    rows, padding = given_bags["rows"], given_bags["padding_idx"]
    indices = torch.tensor(given_bags["indices"], dtype=given_bags["index_dtype"], device=device)
    row_ids = numpy_row_ids(given_bags["lengths"], indices.numel())
    transposed = index_transforms.transpose(
        indices,
        torch.tensor(row_ids, dtype=given_bags["offset_dtype"], device=device),
        rows,
        torch.tensor(given_bags["weights"], device=device),
        padding,
    )
    counts = (row_ids >= 0) & (given_bags["indices"] != (-1 if padding is None else padding))
    order = np.argsort(np.where(counts, given_bags["indices"], 2**40), kind="stable")
    named = np.where(counts, given_bags["indices"], -1)[order]
    np.testing.assert_array_equal(transposed.indices.cpu(), named)
    np.testing.assert_array_equal(transposed.row_ids.cpu(), row_ids[order])
    assert transposed.per_sample_weights is not None
    np.testing.assert_array_equal(transposed.per_sample_weights.cpu(), given_bags["weights"][order])

    counted = named[named >= 0]
    unique, inverse, occurrences = np.unique(counted, return_inverse=True, return_counts=True)
    for padded in (False, True):
        runs = index_transforms.compressed_indices(transposed.indices, padded)
        used = unique.size
        if padded:
            assert runs.num_unique is not None
            assert runs.num_unique.item() == used
            assert runs.rows.shape == indices.shape
            last = unique[-1] if used > 0 else 0
            assert (runs.rows[used:].cpu() == last).all()
            assert (runs.counts[used:].cpu() == 0).all()
            assert (runs.offsets[used:].cpu() == counted.size).all()
        else:
            assert runs.num_unique is None
            assert runs.rows.numel() == used
        np.testing.assert_array_equal(runs.rows[:used].cpu(), unique)
        np.testing.assert_array_equal(runs.inverse[: counted.size].cpu(), inverse.reshape(-1))
        assert (runs.inverse[counted.size :].cpu() == -1).all()
        np.testing.assert_array_equal(runs.counts[:used].cpu(), occurrences)
        ends = np.concatenate([[0], np.cumsum(occurrences)])
        np.testing.assert_array_equal(runs.offsets[: used + 1].cpu(), ends)
        # The ways back.
        if counted.size > 0:
            back = runs.rows[runs.inverse[: counted.size].long()]
            np.testing.assert_array_equal(back.cpu(), counted)
        runs_of = index_transforms.row_ids_from_csr(runs.offsets, indices.numel(), True)
        assert torch.equal(runs_of, runs.inverse.to(torch.int64))
    embed_ops.check_errors()


# On CUDA other numbers of lookups are sorted, and their runs numbered, in other ways
# (csrc/kernels/plan.h), and other numbers of rows take other passes.
@pytest.mark.parametrize("count", [4096, 4097, 6145, 2**17, 2**17 + 1, 2**19, 2**19 + 1])
@pytest.mark.parametrize("rows", [1, 3, 255, 1023, 1024, 2**18 + 1, 2**20, 2**21 - 1, 2**31 - 1])
@pytest.mark.parametrize("index_dtype", [torch.int32, torch.int64], ids=str)
def test_order_of_many_lookups(
    index_dtype: torch.dtype, count: int, rows: int, device: str
) -> None:
    if device == "cpu":
        count //= 32
    generator = torch.Generator().manual_seed(count + rows)
    skewed = torch.rand(count, generator=generator, dtype=torch.float64) ** 3
    indices = (skewed * rows).long().clamp_(max=rows - 1)
    indices[::5] = rows // 2  # one row is popular
    padding = rows // 3
    row_ids = torch.arange(count)
    transposed = index_transforms.transpose(
        indices.to(device, index_dtype), row_ids.to(device), rows, padding_idx=padding
    )
    keys = torch.where(indices == padding, 2**40, indices)
    keys, order = keys.sort(stable=True)
    assert torch.equal(transposed.row_ids.cpu(), order)
    assert torch.equal(transposed.indices.cpu().long(), torch.where(keys == 2**40, -1, keys))
    runs = index_transforms.compressed_indices(transposed.indices, False)
    unique, inverse, counts = keys[keys < 2**40].unique(return_inverse=True, return_counts=True)
    assert torch.equal(runs.rows.cpu().long(), unique)
    assert torch.equal(runs.counts.cpu(), counts)
    assert torch.equal(runs.inverse[: inverse.numel()].cpu().long(), inverse)


@pytest.mark.parametrize("dtype", FLOAT_DTYPES, ids=str)
def test_transpose_twice_is_the_way_back(dtype: torch.dtype, device: str) -> None:
    row_ids = index_transforms.row_ids_from_fixed(torch.empty(50, 7, dtype=torch.int64))
    row_ids = row_ids.to(device)
    # Sorted within each bag, so that the order of a bag's lookups is not in question.
    indices = torch.randint(40, (50, 7), device=device).sort(dim=1).values.reshape(-1)
    weights = torch.rand(350, device=device).to(dtype)
    there = index_transforms.transpose(indices, row_ids, 40, weights)
    back = index_transforms.transpose(there.row_ids, there.indices, 50, there.per_sample_weights)
    assert_same_bits(back.indices, row_ids)
    assert_same_bits(back.row_ids, indices)
    assert_same_bits(back.per_sample_weights, weights)


@pytest.mark.parametrize("dynamic", [False, True], ids=["static", "dynamic"])
@pytest.mark.parametrize("sample", TRANSFORM_SAMPLES, ids=str)
def test_compiled(sample: Sample, dynamic: bool, device: str, fresh_compiler: None) -> None:
    arguments = positional(sample.op, sample.arguments(device, torch.float32))
    function: Callable[..., Any] = getattr(torch.ops.embed_ops, sample.op)
    compiled = torch.compile(function, backend="aot_eager", fullgraph=True, dynamic=dynamic)
    for actual, expected in zip(
        outputs(compiled(*arguments)), outputs(function(*arguments)), strict=True
    ):
        assert_same_bits(actual, expected)


@pytest.mark.parametrize("dynamic", [False, True], ids=["static", "dynamic"])
@pytest.mark.parametrize("padded", [False, True], ids=["exact", "padded"])
def test_a_chain_of_transforms_under_inductor(
    padded: bool, dynamic: bool, device: str, fresh_compiler: None
) -> None:
    def frequencies(indices: Tensor) -> tuple[Tensor, Tensor]:
        row_ids = index_transforms.row_ids_from_fixed(indices)
        transposed = index_transforms.transpose(indices.reshape(-1), row_ids, 30)
        runs = index_transforms.compressed_indices(transposed.indices, padded)
        return runs.rows * 2, runs.counts + 1

    compiled = torch.compile(frequencies, fullgraph=True, dynamic=dynamic)
    for _ in range(2):
        indices = torch.randint(30, (11, 4), device=device)
        for actual, expected in zip(compiled(indices), frequencies(indices), strict=True):
            assert_same_bits(actual, expected)


def test_a_transposed_weight_has_a_gradient_in_compiled_code(
    device: str, fresh_compiler: None
) -> None:
    indices = torch.tensor([3, 1, 3, 0, 7], device=device)
    row_ids = torch.tensor([0, 0, 1, 2, -1], device=device)
    weights = torch.rand(5, device=device, requires_grad=True)

    def scaled(weights: Tensor) -> Tensor:
        sorted_weights = index_transforms.transpose(indices, row_ids, 8, weights)[2]
        assert sorted_weights is not None
        return sorted_weights * torch.arange(5, device=device)

    compiled = torch.compile(scaled, fullgraph=True, backend="aot_eager")
    (gradient,) = torch.autograd.grad(compiled(weights).sum(), weights)
    # Sorted: rows 0, 1, 3, 3, and the lookup of no bag.
    assert gradient.tolist() == [2.0, 1.0, 3.0, 0.0, 4.0]


@pytest.mark.gpu
def test_the_exact_forms_say_why_they_cannot_be_captured() -> None:
    program = """
import torch, embed_ops
ops = torch.ops.embed_ops
indices = torch.tensor([1, 2, 2], device="cuda")
grad = torch.ones(3, 4, device="cuda")
for name, call in {
    "compressed_indices": lambda: ops.compressed_indices(indices),
    "embedding_compressed_backward": lambda: ops.embedding_compressed_backward(grad, indices, 5),
}.items():
    call()
    try:
        with torch.cuda.graph(torch.cuda.CUDAGraph()):
            call()
    except RuntimeError as error:
        print(f"{name}_padded can be captured" in str(error))
call()
print("and work on")
"""
    run = run_in_new_process(program)
    assert run.stdout.split("\n") == ["True", "True", "and work on", ""], run.stderr


@pytest.mark.gpu
@pytest.mark.parametrize("sample", [s for s in TRANSFORM_SAMPLES if s.op not in EXACT], ids=str)
def test_captured(sample: Sample) -> None:
    arguments = sample.arguments("cuda", torch.float32)
    expected = outputs(call(sample.op, arguments))
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = outputs(call(sample.op, arguments))
    for _ in range(2):
        graph.replay()
        assert_same_bits(captured, expected)
