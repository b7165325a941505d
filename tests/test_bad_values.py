"""Wrong values in indices, offsets and row ids: an IndexError, at once on the CPU, late on CUDA."""

from __future__ import annotations

from typing import NamedTuple

import pytest
import torch
from asserts import assert_is_reference, assert_same_bits
from calls import Arguments, call, copies, raised, run_in_new_process, tensors
from right_arguments import MAX_BACKWARD, NAMING_ROWS, RIGHT, TABLES, right
from samples import Draw

import embed_ops


class Bad(NamedTuple):
    op: str
    argument: str
    position: int
    value: int
    text: str
    """Of the IndexError, behind ``embed_ops::{op}: ``."""


def bad_index(op: str, position: int, value: int) -> Bad:
    # The pooled calls look up 3 rows of the first table, which has 5, then 3 of the second.
    limit, table = 10, ""
    if op.startswith("multi"):
        limit, table = (5, " (table 0)") if position < 3 else (3, " (table 1)")
    text = f"indices: expected values in [0, {limit}), got {value} at position {position}{table}"
    return Bad(op, "indices", position, value, text)


BEYOND_32_BITS = (2**31, 2**32, 2**32 + 1, -(2**32), -(2**63), 2**63 - 1)

BAD_INDICES = [
    bad_index(op, position, value)
    for op in NAMING_ROWS
    for position in (1, 5)
    for value in (-1, 10, *BEYOND_32_BITS)
]

# Right offsets are 0, 2, 5 of 6 lookups; of the pooled calls 0, 1, 3, 3, 6.
BAD_OFFSETS = [
    Bad(op, "offsets", position, value, f"offsets: expected {text}, got {value}{where}")
    for op in RIGHT
    if "offsets" in right(op, "cpu")
    for position, value, text, where in [
        (0, 1, "offsets[0] == 0", ""),
        (0, -1, "offsets[0] == 0", ""),
        *(
            [
                (2, 0, "non-decreasing values", " after 1 at position 2"),
                (2, -4, "non-decreasing values", " after 1 at position 2"),
                (4, 7, "values of at most 6", " at position 4"),
                (4, 2**32 + 6, "values of at most 6", " at position 4"),
            ]
            if op.startswith("multi")
            else [
                (2, 1, "non-decreasing values", " after 2 at position 2"),
                (2, -4, "non-decreasing values", " after 2 at position 2"),
                (2, 7, "values of at most 6", " at position 2"),
                (2, 2**32 + 6, "values of at most 6", " at position 2"),
            ]
        ),
    ]
]

# What is sorted does not decrease, and only -1 stands behind it.
BAD_ORDER = [
    *(
        Bad(
            op,
            "indices",
            position,
            value,
            f"indices: expected non-decreasing values, and -1 behind them, {text}",
        )
        for op in ("compressed_indices", "compressed_indices_padded")
        for position, value, text in [
            (0, -2, "got -2 after 0 at position 0"),
            (5, 1, "got 1 after 7 at position 5"),
        ]
    ),
    *(
        Bad(
            "offsets_from_row_ids",
            "row_ids",
            position,
            value,
            "row_ids: expected non-decreasing values in [0, 3), and -1 behind them, "
            f"got {got} at position {where}",
        )
        for position, value, got, where in [
            (5, 3, 3, 5),
            (5, -2, -2, 5),
            (5, 0, 0, 5),
            (4, -1, 2, 5),
            (5, 2**40, 2**40, 5),
        ]
    ),
]

BAD = BAD_INDICES + BAD_OFFSETS + BAD_ORDER
BAD_IDS = [f"{bad.op}-{bad.argument}-{bad.position}-{bad.value}" for bad in BAD]


def with_bad_value(bad: Bad, device: str, dtype: torch.dtype = torch.int64) -> Arguments:
    arguments = right(bad.op, device, index_dtype=dtype)
    tensor = arguments[bad.argument].clone()
    tensor.view(-1)[bad.position] = bad.value
    return arguments | {bad.argument: tensor}


def check_bad(bad: Bad, error: BaseException) -> None:
    assert type(error) is IndexError
    assert str(error) == f"embed_ops::{bad.op}: {bad.text}"


@pytest.mark.parametrize("mode", ["raise", "assert"])
@pytest.mark.parametrize("bad", BAD, ids=BAD_IDS)
def test_bad_values_on_the_cpu_raise_at_once(bad: Bad, mode: str) -> None:
    arguments = with_bad_value(bad, "cpu")
    before = copies(arguments)
    with embed_ops.bounds_check(mode):
        check_bad(bad, raised(bad.op, arguments))
    if bad.op != "embedding_renorm_":
        assert_same_bits(tensors(arguments), before)
    assert call(bad.op, right(bad.op, "cpu")) is not None or bad.op == "embedding_renorm_"


FITS_32_BITS = [bad for bad in BAD if -(2**31) <= bad.value < 2**31]


@pytest.mark.parametrize(
    "bad", FITS_32_BITS, ids=[f"{bad.op}-{bad.argument}-{bad.value}" for bad in FITS_32_BITS]
)
def test_bad_int32_values_on_the_cpu(bad: Bad) -> None:
    check_bad(bad, raised(bad.op, with_bad_value(bad, "cpu", torch.int32)))


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64], ids=str)
@pytest.mark.parametrize("threads", [1, 3])
def test_the_first_of_several_is_named(dtype: torch.dtype, threads: int) -> None:
    indices = torch.zeros(50_000, dtype=dtype)
    indices[[49_999, 31_000, 20_001]] = torch.tensor([7, -8, 9], dtype=dtype)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        error = raised("embedding", {"weight": torch.zeros(5, 8), "indices": indices})
    finally:
        torch.set_num_threads(before)
    assert str(error) == (
        "embed_ops::embedding: indices: expected values in [0, 5), got 9 at position 20001"
    )


def test_the_table_of_an_index_without_offsets_is_its_column(device: str) -> None:
    arguments = TABLES(Draw("", device, torch.float32))
    arguments["indices"][2, 1] = 3
    if device == "cpu":
        error: BaseException = raised("multi_embedding", arguments)
    else:
        call("multi_embedding", arguments)
        error = late_error()
    assert type(error) is IndexError
    assert str(error) == (
        "embed_ops::multi_embedding: indices: "
        "expected values in [0, 3), got 3 at position 5 (table 1)"
    )


@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_compiled_code_does_not_wrap_negative_indices(
    backend: str, device: str, fresh_compiler: None
) -> None:
    weight = torch.randn(10, 4, device=device)
    indices = torch.tensor([3, -1], device=device)
    compiled = torch.compile(torch.ops.embed_ops.embedding, backend=backend, fullgraph=True)
    text = "embed_ops::embedding: indices: expected values in [0, 10), got -1 at position 1"
    if device == "cpu":
        with pytest.raises(IndexError) as caught:
            compiled(weight, indices)
        assert str(caught.value) == text
    else:
        assert compiled(weight, indices)[1].tolist() == [0.0] * 4
        assert str(late_error()) == text


def test_rows_that_argmax_invents_are_not_written(device: str) -> None:
    """No op returns such an argmax; a caller may pass one all the same."""
    arguments = MAX_BACKWARD(Draw("", device, torch.float32))
    rows = arguments["num_weights"]
    for invented in (rows, 2**40, -5):
        argmax = arguments["argmax"].clone()
        argmax[1, 2] = invented
        with embed_ops.bounds_check("ignore"):
            gradient = call("embedding_bag_dense_backward", arguments | {"argmax": argmax})
        without = arguments["argmax"].clone()
        without[1, 2] = -1
        assert_is_reference(
            "embedding_bag_dense_backward", arguments | {"argmax": without}, gradient
        )


# On CUDA


def late_error() -> BaseException:
    """What CUDA kernels have recorded, which must be forgotten then."""
    with pytest.raises(IndexError) as caught:
        embed_ops.check_errors()
    embed_ops.check_errors()
    return caught.value


@pytest.mark.gpu
@pytest.mark.parametrize("bad", BAD, ids=BAD_IDS)
def test_bad_values_on_cuda_raise_late(bad: Bad) -> None:
    arguments = with_bad_value(bad, "cuda")
    before = copies(arguments)
    result = call(bad.op, arguments)
    check_bad(bad, late_error())
    if bad.op != "embedding_renorm_":
        assert_same_bits(tensors(arguments), before)
        if bad.op in NAMING_ROWS and bad.argument == "indices":
            assert_is_reference(bad.op, arguments, result)


@pytest.mark.gpu
@pytest.mark.parametrize(
    "bad", FITS_32_BITS, ids=[f"{b.op}-{b.argument}-{b.value}" for b in FITS_32_BITS]
)
def test_the_next_call_raises_and_the_one_after_works(bad: Bad) -> None:
    call(bad.op, with_bad_value(bad, "cuda", torch.int32))
    torch.cuda.synchronize()
    arguments = right(bad.op, "cuda")
    check_bad(bad, raised(bad.op, arguments))
    result = call(bad.op, arguments)
    if bad.op != "embedding_renorm_":
        assert_is_reference(bad.op, arguments, result)


@pytest.mark.gpu
def test_bad_values_are_recorded_when_a_graph_is_replayed() -> None:
    weight = torch.randn(10, 4, device="cuda")
    indices = torch.zeros(5, dtype=torch.int64, device="cuda")
    torch.ops.embed_ops.embedding(weight, indices)  # Outside of the capture: first use.
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        output = torch.ops.embed_ops.embedding(weight, indices)
    for value in (7, -2, 3, 11, 4):
        indices[3] = value
        graph.replay()
        if 0 <= value < 10:
            embed_ops.check_errors()
            assert_same_bits(output, weight[indices])
        else:
            assert str(late_error()) == (
                "embed_ops::embedding: indices: "
                f"expected values in [0, 10), got {value} at position 3"
            )
            assert output[3].tolist() == [0.0] * 4


@pytest.mark.gpu
def test_a_pending_error_does_not_break_a_capture() -> None:
    """It is raised before the capture's first call, or after; the context survives either way."""
    weight = torch.randn(10, 4, device="cuda")
    torch.ops.embed_ops.embedding(weight, torch.tensor([12], device="cuda"))
    assert "got 12 at position 0" in str(late_error())
    indices = torch.tensor([1, 2], device="cuda")
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        output = torch.ops.embed_ops.embedding(weight, indices)
    graph.replay()
    assert_same_bits(output, weight[1:3])


@pytest.mark.gpu
def test_only_the_first_offence_is_kept() -> None:
    weight = torch.randn(10, 4, device="cuda")
    torch.ops.embed_ops.embedding(weight, torch.tensor([12], device="cuda"))
    # The second call may already find the first's error; it must not replace it.
    try:
        torch.ops.embed_ops.embedding(weight, torch.tensor([0, -3], device="cuda"))
        error: BaseException = late_error()
    except IndexError as raised_by_second:
        error = raised_by_second
    assert "got 12 at position 0" in str(error)


@pytest.mark.gpu
def test_assert_mode_is_a_device_side_assertion() -> None:
    program = """
import torch, embed_ops
embed_ops.bounds_check("assert")
weight = torch.zeros(10, 4, device="cuda")
torch.ops.embed_ops.embedding(weight, torch.tensor([3], device="cuda"))
torch.cuda.synchronize()
print("right indices pass", flush=True)
torch.ops.embed_ops.embedding(weight, torch.tensor([12], device="cuda"))
torch.cuda.synchronize()
"""
    run = run_in_new_process(program)
    assert "right indices pass" in run.stdout, run.stderr
    assert run.returncode != 0
    assert "device-side assert" in run.stderr
    assert "index out of range" in run.stderr
