"""Every op returns what the reference says in float64, whatever the dtypes, layouts and strides."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from asserts import assert_exact, assert_is_reference, assert_same_bits, assert_sums, on_cpu
from calls import Arguments, call, map_tensors
from samples import FLOAT_DTYPES, FORWARD, PURE_SAMPLES, Draw, Sample, csr
from torch import Tensor

import embed_ops
from embed_ops import reference


def has(sample: Sample, argument: str) -> bool:
    return sample.arguments().get(argument) is not None


DENSE_BACKWARD_SAMPLES = [s for s in PURE_SAMPLES if s.op.endswith("dense_backward")]


@pytest.mark.parametrize("dtype", FLOAT_DTYPES, ids=str)
@pytest.mark.parametrize("sample", PURE_SAMPLES, ids=str)
def test_values(sample: Sample, dtype: torch.dtype, device: str) -> None:
    arguments = sample.arguments(device, dtype)
    assert_is_reference(sample.op, arguments, call(sample.op, arguments))


@pytest.mark.parametrize("sample", PURE_SAMPLES, ids=str)
def test_int32_indices(sample: Sample, device: str) -> None:
    arguments = sample.arguments(device, torch.float32, index_dtype=torch.int32)
    assert_is_reference(sample.op, arguments, call(sample.op, arguments))


@pytest.mark.parametrize(
    "index_dtype, offset_dtype",
    [(torch.int32, torch.int64), (torch.int64, torch.int32)],
    ids=str,
)
@pytest.mark.parametrize("sample", [s for s in PURE_SAMPLES if has(s, "offsets")], ids=str)
def test_mixed_index_dtypes(
    sample: Sample, index_dtype: torch.dtype, offset_dtype: torch.dtype, device: str
) -> None:
    dtypes = {"index_dtype": index_dtype, "offset_dtype": offset_dtype}
    arguments = sample.arguments(device, torch.float32, **dtypes)
    assert_is_reference(sample.op, arguments, call(sample.op, arguments))


def spread_out(tensor: Tensor) -> Tensor:
    """No two elements adjacent."""
    return torch.stack([tensor, tensor], dim=-1)[..., 0]


def column_of_wider(tensor: Tensor) -> Tensor:
    """Dense rows, further apart than they are long."""
    if tensor.dim() == 0:
        return tensor
    return torch.cat([tensor, tensor], dim=-1)[..., tensor.shape[-1] :]


def misaligned(tensor: Tensor) -> Tensor:
    """Contiguous, but one element behind what the allocator aligned."""
    storage = tensor.new_empty(tensor.numel() + 1)
    return storage[1:].view(tensor.shape).copy_(tensor)


def reversed_dimensions(tensor: Tensor) -> Tensor:
    """Stored the other way round."""
    order = tuple(reversed(range(tensor.dim())))
    return tensor.permute(order).contiguous().permute(order)


def expanded(tensor: Tensor) -> Tensor:
    """Where all rows are equal: one row in memory, as autograd makes gradients of sums."""
    if tensor.is_floating_point() and tensor.dim() == 2 and tensor.shape[0] > 0:
        return tensor[:1].expand(tensor.shape)
    return tensor


@pytest.mark.parametrize(
    "layout", [spread_out, column_of_wider, misaligned, reversed_dimensions, expanded]
)
@pytest.mark.parametrize("sample", PURE_SAMPLES, ids=str)
def test_strides(sample: Sample, layout: Callable[[Tensor], Tensor], device: str) -> None:
    arguments = map_tensors(layout, sample.arguments(device, torch.float32))
    assert_is_reference(sample.op, arguments, call(sample.op, arguments))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("sample", PURE_SAMPLES, ids=str)
def test_misaligned_16_bit(sample: Sample, dtype: torch.dtype, device: str) -> None:
    arguments = map_tensors(misaligned, sample.arguments(device, dtype))
    assert_is_reference(sample.op, arguments, call(sample.op, arguments))


FIXED_BAG_SAMPLES = [
    s for s in PURE_SAMPLES if s.op.startswith("embedding_bag") and not has(s, "offsets")
]


@pytest.mark.parametrize("last", [False, True], ids=["offsets", "include_last_offset"])
@pytest.mark.parametrize("sample", FIXED_BAG_SAMPLES, ids=str)
def test_fixed_is_csr_of_equal_lengths(sample: Sample, last: bool, device: str) -> None:
    arguments = sample.arguments(device, torch.float32)
    batch, hotness = arguments["indices"].shape
    offsets = torch.arange(batch + last, device=device) * hotness
    csr = arguments | {"indices": arguments["indices"].reshape(-1), "offsets": offsets}
    csr["include_last_offset"] = last
    if arguments.get("per_sample_weights") is not None:
        csr["per_sample_weights"] = arguments["per_sample_weights"].reshape(-1)
    result = call(sample.op, csr)
    if sample.op == "embedding_bag_per_sample_weights_backward":
        result = result.reshape(batch, hotness)
    assert_is_reference(sample.op, arguments, result)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("sample", DENSE_BACKWARD_SAMPLES, ids=str)
def test_deterministic_gradients(sample: Sample, dtype: torch.dtype, device: str) -> None:
    arguments = sample.arguments(device, dtype) | {"deterministic": True}
    first = call(sample.op, arguments)
    assert_is_reference(sample.op, arguments, first)
    for _ in range(3):
        assert_same_bits(first, call(sample.op, arguments))


@pytest.mark.parametrize("dtype", FLOAT_DTYPES, ids=str)
@pytest.mark.parametrize("index_dtype", [torch.int32, torch.int64], ids=str)
@pytest.mark.parametrize("sample", FORWARD["embedding_renorm_"], ids=str)
def test_renorm(sample: Sample, index_dtype: torch.dtype, dtype: torch.dtype, device: str) -> None:
    arguments = sample.arguments(device, dtype, index_dtype=index_dtype)
    before = on_cpu(arguments, torch.float64)
    expected = on_cpu(arguments, torch.float64)
    reference.embedding_renorm_(**expected)
    assert call(sample.op, arguments) is None

    untouched = (expected["weight"] == before["weight"]).all(dim=1)
    weight = arguments["weight"].cpu()
    assert_exact(weight[untouched], before["weight"][untouched])
    # A norm of D elements, a division and a product round the factor; then the element is rounded.
    width = weight.shape[1]
    assert_sums(
        weight[~untouched],
        expected["weight"][~untouched],
        expected["weight"][~untouched].abs(),
        width,
    )


def test_renorm_of_rows_further_apart_than_they_are_long(device: str) -> None:
    storage = torch.ones(4, 6, device=device)
    torch.ops.embed_ops.embedding_renorm_(storage[:, 2:5], torch.tensor([3, 1], device=device), 0.5)
    expected = torch.ones(4, 6, dtype=torch.float64)
    reference.embedding_renorm_(expected[:, 2:5], torch.tensor([3, 1]), 0.5)
    assert_sums(storage, expected, expected, 3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_max_lets_the_first_of_equals_and_nan_win(dtype: torch.dtype, device: str) -> None:
    weight = torch.tensor(
        [[1.0, 2.0], [1.0, 5.0], [-torch.inf, torch.nan]], dtype=dtype, device=device
    )
    arguments: Arguments = {
        "weight": weight,
        "indices": torch.tensor([1, 0, 0, 2, 1, 2, 2], device=device),
        "offsets": torch.tensor([0, 2, 5, 5], device=device),
        "mode": "max",
    }
    output, argmax = call("embedding_bag", arguments)
    assert argmax.tolist() == [[1, 1], [0, 2], [-1, -1], [2, 2]]
    assert_is_reference("embedding_bag", arguments, (output, argmax))


def test_nan_and_infinity_stay_in_their_rows(device: str) -> None:
    weight = torch.tensor([[1.0, 2.0], [torch.inf, torch.nan], [3.0, 4.0]], device=device)
    indices = torch.tensor([[0, 2], [1, 0]], device=device)
    output, _ = torch.ops.embed_ops.embedding_bag(weight, indices, padding_idx=1)
    assert output.tolist() == [[2.0, 3.0], [1.0, 2.0]]
    grad_output = torch.tensor([[torch.nan, 1.0], [2.0, 3.0]], device=device)
    gradient = torch.ops.embed_ops.embedding_dense_backward(
        grad_output, torch.tensor([1, 2], device=device), 3, 1
    )
    assert gradient.tolist() == [[0.0, 0.0], [0.0, 0.0], [2.0, 3.0]]


def test_weights_that_add_up_to_nothing_divide_as_ieee_does(device: str) -> None:
    weight = torch.tensor([[1.0], [2.0]], device=device)
    indices = torch.tensor([[0, 1], [0, 1]], device=device)
    weights = torch.tensor([[0.0, 0.0], [1.0, -1.0]], device=device)
    output, _ = torch.ops.embed_ops.embedding_bag(weight, indices, per_sample_weights=weights)
    assert not output.isfinite().any()


# What is around the numbers of lookups that the CUDA kernels take together, up to a warp's worth.
LENGTHS = {
    "shared": [*range(12), 15, 16, 17, 0, 31, 32, 33, 40, 63, 64, 65, 100],
}
# Among bags that are short on average, a bag is not shared.
LENGTHS["alone"] = LENGTHS["shared"] + [*range(6)] * 12


@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize("dtype", FLOAT_DTYPES, ids=str)
@pytest.mark.parametrize("mode", ["sum", "weighted sum", "mean", "weighted mean", "max"])
@pytest.mark.parametrize("width", [1, 4, 12, 32, 64, 65, 100, 128, 192, 300])
def test_bags_of_every_length(
    width: int, mode: str, dtype: torch.dtype, lengths: str, device: str
) -> None:
    draw = Draw(f"every length {width} {mode}", device, dtype)
    options = {"weighted": "weighted" in mode, "mode": mode.split()[-1], "padding_idx": 3}
    arguments = csr(50, width, LENGTHS[lengths], **options)(draw)
    assert_is_reference("embedding_bag", arguments, call("embedding_bag", arguments))
    # The same from rows behind which nobody may read, nor anything of theirs be added.
    wide = arguments["weight"].new_full((50, width + 4), torch.nan)
    wide[:, :width] = arguments["weight"]
    arguments["weight"] = wide[:, :width]
    assert_is_reference("embedding_bag", arguments, call("embedding_bag", arguments))


@pytest.mark.parametrize("index_dtype", [torch.int32, torch.int64], ids=str)
@pytest.mark.parametrize("dtype", FLOAT_DTYPES, ids=str)
@pytest.mark.parametrize("width", [8, 16, 32, 64])
@pytest.mark.parametrize("mode, lengths", [("sum", "equal"), ("sum", "every"), ("mean", "every")])
def test_many_long_bags_of_narrow_rows(
    mode: str,
    width: int,
    dtype: torch.dtype,
    index_dtype: torch.dtype,
    lengths: str,
    device: str,
) -> None:
    """The lanes of CUDA kernels then read two indices at a time."""
    rows, bags, mean, padding = 500, 2**15, 34, 3
    if device == "cpu":
        bags //= 64
    counts = torch.arange(bags) * 7 % (2 * mean + 1) if lengths == "every" else torch.tensor([mean])
    counts = counts.expand(bags)
    # Some name no row.
    indices = torch.randint(-1, rows + 1, (int(counts.sum()),))
    offsets = counts.cumsum(0) - counts if lengths == "every" else None
    weight = small_integers(rows, width, device=device, dtype=dtype)
    given = (indices if offsets is not None else indices.view(bags, mean)).to(device, index_dtype)
    with embed_ops.bounds_check("ignore"):
        output = embed_ops.embedding_bag(
            given,
            weight,
            None if offsets is None else offsets.to(device, index_dtype),
            mode=mode,
            padding_idx=padding,
        )
    bag = torch.repeat_interleave(torch.arange(bags), counts)
    counted = (indices >= 0) & (indices < rows) & (indices != padding)
    named = weight.double()[indices.clamp(0, rows - 1).to(device)] * counted.to(device)[:, None]
    sums = torch.zeros(bags, width, dtype=torch.float64, device=device)
    sums.index_add_(0, bag.to(device), named)
    if mode == "sum":
        assert_exact(output, sums.cpu())
    else:
        # A row more or less, of 34, is well beyond rounding.
        divisor = torch.bincount(bag, counted, bags).clamp(min=1).to(device)
        torch.testing.assert_close(output, (sums / divisor[:, None]).to(dtype))


@pytest.mark.parametrize("length", [1, 5, 70])
@pytest.mark.parametrize("widths", [[128, 8, 64, 4, 136, 32], [16, 68], [128], [520]], ids=str)
@pytest.mark.parametrize("dtype", FLOAT_DTYPES, ids=str)
@pytest.mark.parametrize("mode", ["sum", "weighted sum", "mean"])
def test_many_bags(
    mode: str, dtype: torch.dtype, widths: list[int], length: int, device: str
) -> None:
    """Of wide and narrow tables in one launch, with bags of any length and none that is shared."""
    rows, batch = 60, 5000
    if device == "cpu":
        batch //= 60
    count = len(widths)
    lengths = torch.arange(count * batch) * 7 % (2 * length + 1)
    offsets = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
    indices = torch.randint(-1, rows + 1, (int(offsets[-1]),))  # some name no row
    counted = (indices >= 0) & (indices < rows)
    tables = [small_integers(rows, width, device=device, dtype=dtype) for width in widths]
    weights = (
        small_integers(len(indices), device="cpu", dtype=dtype) if "weighted" in mode else None
    )
    with embed_ops.bounds_check("ignore"):
        output = torch.ops.embed_ops.multi_embedding_list(
            tables,
            indices.to(device),
            offsets.to(device),
            mode.split()[-1],
            None if weights is None else weights.to(device),
        )
    bag = torch.repeat_interleave(torch.arange(count * batch), lengths)
    factors = counted.double() if weights is None else counted * weights.double()
    for place, columns in enumerate(output.cpu().split(widths, dim=1)):
        of_table = bag // batch == place
        named = tables[place].cpu().double()[indices[of_table].clamp(0, rows - 1)]
        sums = torch.zeros(batch, widths[place], dtype=torch.float64)
        sums.index_add_(0, bag[of_table] - place * batch, named * factors[of_table][:, None])
        if mode == "mean":
            divisor = torch.bincount(bag[of_table] - place * batch, counted[of_table], batch)
            # A row more or less is beyond rounding, but of long bags in bfloat16.
            sums /= divisor.clamp(min=1)[:, None]
            torch.testing.assert_close(columns, sums.to(dtype))
        else:
            assert_exact(columns, sums)


# --------------------------------------------------------------------------------------------------
# Very many additions, where a tolerance would forgive one that is missing: data whose every partial
# sum is exact must come out exact.


def small_integers(*shape: int, device: str, dtype: torch.dtype) -> Tensor:
    return torch.randint(-3, 4, shape).to(device, dtype)


SKEWS = {
    "distinct": lambda count: torch.randperm(count),
    "one row": lambda count: torch.full((count,), 77),
    "few rows": lambda count: torch.randint(5, (count,)) * 10,
    "power law": lambda count: (torch.rand(count).pow(8) * count).long(),
}


@pytest.fixture(params=[1, 2, 3])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.parametrize("size", ["few", "odd", "many"])
@pytest.mark.parametrize("deterministic", [False, True], ids=["default", "deterministic"])
@pytest.mark.parametrize("dtype", FLOAT_DTYPES, ids=str)
@pytest.mark.parametrize("skew", SKEWS, ids=str)
def test_none_of_many_additions_is_lost(
    skew: str, dtype: torch.dtype, deterministic: bool, size: str, device: str, threads: int
) -> None:
    if device == "cuda" and threads > 1:
        pytest.skip("threads are the CPU's")
    many = (16_384, 24) if device == "cpu" else (262_144, 64)
    count, width = {"few": (4096, 40), "odd": (1984, 33), "many": many}[size]
    indices = SKEWS[skew](count).to(device)
    grad_output = small_integers(count, width, device=device, dtype=dtype)
    expected = torch.zeros(count, width, dtype=torch.float64)
    expected.index_add_(0, indices.cpu(), grad_output.cpu().double())
    gradient = torch.ops.embed_ops.embedding_dense_backward(
        grad_output, indices, count, deterministic=deterministic
    )
    assert_exact(gradient, expected)

    bags, hotness = count // 32, 32
    of_bags = grad_output[:bags]
    expected = torch.zeros(count, width, dtype=torch.float64)
    expected.index_add_(0, indices.cpu(), of_bags.cpu().double().repeat_interleave(hotness, 0))
    fixed = indices.reshape(bags, hotness)
    none = indices.new_empty(0)
    gradient = torch.ops.embed_ops.embedding_bag_dense_backward(
        of_bags, fixed, None, None, none, count, mode="sum", deterministic=deterministic
    )
    assert_exact(gradient, expected)

    # Two tables, the second half as wide, one bag of each for every sample.
    sample_rows, rows, widths = bags // 2, [count, count], [16, 8]
    of_samples = grad_output[:sample_rows, :24]
    offsets = torch.arange(2 * sample_rows + 1, device=device) * hotness
    first = torch.ops.embed_ops.multi_embedding_list_dense_backward(
        of_samples, indices, rows, widths, offsets, deterministic=deterministic
    )
    per_lookup = of_samples.cpu().double().repeat_interleave(hotness, 0)
    for table, columns, share in zip(
        first, per_lookup.split(widths, dim=1), indices.cpu().chunk(2), strict=True
    ):
        expected = torch.zeros(count, columns.shape[1], dtype=torch.float64)
        assert_exact(table, expected.index_add_(0, share, columns))


@pytest.mark.parametrize("shape", ["wide rows", "very many"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("skew", SKEWS, ids=str)
def test_many_lookups_of_a_small_table(
    skew: str, dtype: torch.dtype, shape: str, device: str
) -> None:
    count, width = {"wide rows": (2**18, 260), "very many": (2**21, 12)}[shape]
    if device == "cpu":
        count //= 64
    rows = 1500
    indices = (SKEWS[skew](count) % rows).to(device)
    grad_output = small_integers(count, width, device=device, dtype=dtype)
    gradient = torch.ops.embed_ops.embedding_dense_backward(grad_output, indices, rows)
    expected = torch.zeros(rows, width, dtype=torch.float64, device=device)
    assert_exact(gradient, expected.index_add_(0, indices, grad_output.double()).cpu())


@pytest.mark.parametrize("dtype", FLOAT_DTYPES, ids=str)
@pytest.mark.parametrize("width", [4, 12, 32, 64, 96, 128])
@pytest.mark.parametrize("count", [4096, 8200, 30_000, 60_001])
@pytest.mark.parametrize(
    "skew, index_dtype", [("few rows", torch.int32), ("power law", torch.int64)]
)
def test_narrow_rows_of_many_lookups(
    skew: str, index_dtype: torch.dtype, count: int, width: int, dtype: torch.dtype, device: str
) -> None:
    """CUDA kernels then bring gradients into shared memory, in tiles of 32, 64 and 128 lookups."""
    rows, padding = 700, 10
    if device == "cpu":
        count //= 16
    indices = (SKEWS[skew](count) % (rows + 2) - 1).to(device, index_dtype)  # some name no row
    counts = (indices >= 0) & (indices < rows) & (indices != padding)
    # Behind each row stands what nobody may read.
    wide = torch.full((count, width + 8), torch.nan, dtype=dtype, device=device)
    grad_output = wide[:, :width]
    grad_output.copy_(small_integers(count, width, device=device, dtype=dtype))
    with embed_ops.bounds_check("ignore"):
        gradient = torch.ops.embed_ops.embedding_dense_backward(grad_output, indices, rows, padding)
    expected = torch.zeros(rows, width, dtype=torch.float64, device=device)
    expected.index_add_(0, indices.long()[counts], grad_output.double()[counts])
    assert_exact(gradient, expected.cpu())


@pytest.mark.parametrize("deterministic", [False, True], ids=["default", "deterministic"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("width", [8, 33])
@pytest.mark.parametrize("skew", SKEWS, ids=str)
def test_few_lookups_of_a_tall_table(
    skew: str, width: int, dtype: torch.dtype, deterministic: bool, device: str
) -> None:
    count, rows, padding = 3000, 2**19, 77 * 170
    indices = (SKEWS[skew](count) * 170).to(device)

    def check(gradient: Tensor, of_lookups: Tensor, named: Tensor) -> None:
        """Of a table the rows that are named, and zeros elsewhere."""
        unique, inverse = named.unique(return_inverse=True)
        expected = torch.zeros(len(unique), width, dtype=torch.float64)
        assert_exact(gradient[unique], expected.index_add_(0, inverse.cpu(), of_lookups))
        assert gradient.count_nonzero() == gradient[unique].count_nonzero()

    grad_output = small_integers(count, width, device=device, dtype=dtype)
    gradient = torch.ops.embed_ops.embedding_dense_backward(
        grad_output, indices, rows, padding, deterministic=deterministic
    )
    counts = (indices != padding).cpu()
    check(gradient, grad_output.cpu().double() * counts[:, None], indices)

    # Bags of 0 to 30 lookups; then half of them of a first table and half of a second one.
    offsets = (torch.arange(201, device=device) ** 2 * count) // 200**2
    lengths = offsets.diff().cpu()
    of_bags = grad_output[:200]
    gradient = torch.ops.embed_ops.embedding_bag_dense_backward(
        of_bags,
        indices,
        offsets[:-1],
        None,
        indices.new_empty(0),
        rows,
        mode="sum",
        deterministic=deterministic,
    )
    check(gradient, of_bags.cpu().double().repeat_interleave(lengths, 0), indices)

    of_samples = small_integers(100, 2 * width, device=device, dtype=dtype)
    tables = torch.ops.embed_ops.multi_embedding_list_dense_backward(
        of_samples, indices, [rows, rows], [width, width], offsets, deterministic=deterministic
    )
    halves = (slice(0, int(offsets[100])), slice(int(offsets[100]), count))
    for table, columns, half, of_table in zip(
        tables,
        of_samples.cpu().double().split(width, dim=1),
        halves,
        lengths.chunk(2),
        strict=True,
    ):
        check(table, columns.repeat_interleave(of_table, 0), indices[half])


# In parts of the lookups, in one part, in slices of the table and in slices whose lists are cut.
@pytest.mark.parametrize(
    "rows, width, count",
    [
        (100, 32, 16_384),
        (1000, 8, 2048),
        (2000, 128, 4096),
        (5000, 32, 65_536),
        (50_000, 8, 16_384),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("skew", SKEWS, ids=str)
def test_threads_do_not_change_a_bit_of_the_gradient(
    skew: str, dtype: torch.dtype, rows: int, width: int, count: int, threads: int
) -> None:
    indices = SKEWS[skew](count) % rows
    grad_output = torch.randn(count, width, dtype=dtype)
    gradient = torch.ops.embed_ops.embedding_dense_backward(grad_output, indices, rows)
    torch.set_num_threads(1)
    of_one = torch.ops.embed_ops.embedding_dense_backward(grad_output, indices, rows)
    assert torch.equal(gradient, of_one)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("sample", [s for s in PURE_SAMPLES if s.large], ids=str)
def test_three_threads(sample: Sample, dtype: torch.dtype) -> None:
    arguments = sample.arguments(dtype=dtype)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        result = call(sample.op, arguments)
    finally:
        torch.set_num_threads(before)
    assert_is_reference(sample.op, arguments, result)


@pytest.mark.parametrize("dtype", FLOAT_DTYPES, ids=str)
def test_threads_share_the_forward(dtype: torch.dtype, threads: int) -> None:
    weight = small_integers(300, 24, device="cpu", dtype=dtype)
    indices = torch.randint(300, (2000, 16))
    output, _ = torch.ops.embed_ops.embedding_bag(weight, indices, mode="sum")
    assert_exact(output, weight.double()[indices].sum(1))
    rows = torch.ops.embed_ops.embedding(weight, indices)
    assert_exact(rows, weight.double()[indices])


def test_reads_behind_2_to_the_31_elements_on_the_cpu(tmp_path: Path) -> None:
    # A sparse file: only the pages that are touched take memory.
    width = 256
    rows = 2**31 // width + 3
    weight = torch.from_file(
        str(tmp_path / "table"), shared=True, size=rows * width, dtype=torch.float16
    ).view(rows, width)
    weight[-1], weight[-2], weight[0] = 3.0, 2.0, 1.0
    indices = torch.tensor([rows - 1, rows - 2, 0, 5], dtype=torch.int32)
    expected = torch.tensor([3.0, 2.0, 1.0, 0.0])
    rows_read = torch.ops.embed_ops.embedding(weight, indices)
    assert_exact(rows_read, expected.double()[:, None].expand(4, width))
    output, _ = torch.ops.embed_ops.embedding_bag(weight, indices[None], mode="sum")
    assert_exact(output, torch.full((1, width), 6.0, dtype=torch.float64))
    # The second table of a packed tensor lies behind the first.
    pair = torch.ops.embed_ops.multi_embedding(
        weight.view(-1), torch.tensor([[0, 1]]), [rows - 2, 2], [width, width]
    )
    assert_exact(pair, torch.tensor([[1.0, 3.0]]).double().repeat_interleave(width, 1))
