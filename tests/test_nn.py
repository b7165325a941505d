"""The modules: FastEmbedding and FastEmbeddingBag beside their torch.nn twins, FastMultiEmbedding
beside a list of torch.nn modules, and beside what RTBHOUSE's tests of the original ask of it.
"""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

import embed_ops
from embed_ops import FastEmbedding, FastEmbeddingBag, FastMultiEmbedding

ROWS, WIDTH = 11, 5
SIZES, DIMS = [10, 3, 7], [4, 1, 6]

EMBEDDING_OPTIONS: list[dict[str, Any]] = [
    {},
    {"padding_idx": 2},
    {"padding_idx": -1},
    {"max_norm": 1.0},
    {"max_norm": 2.0, "norm_type": 1.0, "padding_idx": 0},
    {"scale_grad_by_freq": True},
    {"dtype": torch.float64},
]
BAG_OPTIONS: list[dict[str, Any]] = [
    {"mode": mode, **options}
    for mode in ("sum", "mean", "max")
    for options in (
        {},
        {"padding_idx": 2},
        {"padding_idx": -3},
        {"max_norm": 1.0},
        {"dtype": torch.float64},
    )
]


def name_of(options: dict[str, Any]) -> str:
    return "-".join(f"{name}={value}" for name, value in options.items()) or "default"


def some_indices(*shape: int, device: str = "cpu") -> Tensor:
    return torch.randint(0, ROWS, shape, device=device)


def jagged(lengths: list[int], device: str) -> Tensor:
    entries = [some_indices(length, device=device) for length in lengths]
    return torch.nested.nested_tensor(entries, layout=torch.jagged)


def bag_inputs(layout: str, device: str) -> tuple[Tensor, Tensor | None]:
    """Bags, one of them empty where the layout has that, as arguments of forward."""
    if layout == "fixed":
        return some_indices(4, 3, device=device), None
    if layout == "jagged":
        return jagged([2, 0, 5, 1], device), None
    ends = [0, 2, 2, 7] if layout == "csr" else [0, 2, 2, 7, 8]
    return some_indices(8, device=device), torch.tensor(ends, device=device)


def twins(fast: type[nn.Module], plain: type[nn.Module], device: str, **options: Any) -> Any:
    """The two modules with equal weights."""
    first = fast(ROWS, WIDTH, device=device, **options)
    second = plain(ROWS, WIDTH, device=device, **options)
    second.load_state_dict(first.state_dict())
    return first, second


def assert_twins_agree(first: nn.Module, second: nn.Module, *inputs: Any) -> None:
    """Two training steps give equal outputs, gradients and, max_norm included, weights."""
    for _ in range(2):
        outputs = [module(*inputs) for module in (first, second)]
        torch.testing.assert_close(*outputs)
        weight = torch.randn_like(outputs[0])
        for module, output in zip((first, second), outputs, strict=True):
            module.zero_grad()
            (output * weight).sum().backward()
        torch.testing.assert_close(first.weight.grad, second.weight.grad)
        with torch.no_grad():
            for module in (first, second):
                module.weight -= 0.5 * module.weight.grad
        torch.testing.assert_close(first.weight, second.weight)


# --------------------------------------------------------------------------------------------------
# Beside torch.nn


@pytest.mark.parametrize("options", EMBEDDING_OPTIONS, ids=name_of)
@pytest.mark.parametrize("shape", [(), (6,), (2, 3, 4), (0,), (2, 0)], ids=str)
def test_embedding_is_its_twin(
    options: dict[str, Any], shape: tuple[int, ...], device: str
) -> None:
    if device == "cuda" and 0 in shape and options.keys() & {"max_norm", "scale_grad_by_freq"}:
        pytest.skip("torch's own kernels launch an empty grid here and fail")
    modules = twins(FastEmbedding, nn.Embedding, device, **options)
    assert_twins_agree(*modules, some_indices(*shape, device=device))


def test_embedding_takes_jagged_input(device: str) -> None:
    module = FastEmbedding(ROWS, WIDTH, device=device)
    input = jagged([2, 0, 3], device)
    output = module(input)
    assert output.shape[:2] == input.shape
    torch.testing.assert_close(output.values(), module.weight[input.values()])


@pytest.mark.parametrize("options", BAG_OPTIONS, ids=name_of)
@pytest.mark.parametrize("layout", ["fixed", "csr", "last", "jagged"])
def test_bag_is_its_twin(options: dict[str, Any], layout: str, device: str) -> None:
    options = {**options, "include_last_offset": layout == "last"}
    modules = twins(FastEmbeddingBag, nn.EmbeddingBag, device, **options)
    assert_twins_agree(*modules, *bag_inputs(layout, device))


@pytest.mark.parametrize("mode", ["sum", "mean"])
def test_bag_scales_gradients_by_frequency(mode: str, device: str) -> None:
    # Beside nn.Embedding: nn.EmbeddingBag on the CPU divides by the frequency of another row
    # (pytorch/pytorch#190063).
    bag = FastEmbeddingBag(ROWS, WIDTH, mode=mode, scale_grad_by_freq=True, device=device)
    table = nn.Embedding(ROWS, WIDTH, scale_grad_by_freq=True, device=device)
    input = some_indices(4, 5, device=device)
    bag(input).sum().backward()
    getattr(table(input), mode)(dim=1).sum().backward()
    torch.testing.assert_close(bag.weight.grad, table.weight.grad)


@pytest.mark.parametrize("layout", ["fixed", "csr", "last", "jagged"])
def test_weighted_sum_is_its_twin(layout: str, device: str) -> None:
    modules = twins(
        FastEmbeddingBag, nn.EmbeddingBag, device, mode="sum", include_last_offset=layout == "last"
    )
    input, offsets = bag_inputs(layout, device)
    values = input.values() if layout == "jagged" else input
    gradients = []
    for module in modules:
        leaf = torch.linspace(0.5, 2, values.numel(), device=device).reshape(values.shape)
        weights = leaf.requires_grad_()
        if layout == "jagged":
            weights = torch.nested.nested_tensor_from_jagged(leaf, input.offsets())
        output = module(input, offsets, weights)
        gradients.append((output, *torch.autograd.grad(output.sin().sum(), (leaf, module.weight))))
    torch.testing.assert_close(*gradients)


def test_weighted_mean_divides_by_the_weights(device: str) -> None:
    module = FastEmbeddingBag(ROWS, WIDTH, mode="mean", padding_idx=3, device=device)
    input = torch.tensor([[1, 3, 2], [3, 3, 3]], device=device)
    weights = torch.tensor([[0.5, 9.0, 2.0], [1.0, 1.0, 1.0]], device=device)
    expected = (0.5 * module.weight[1] + 2 * module.weight[2]) / 2.5
    output = module(input, per_sample_weights=weights)
    torch.testing.assert_close(output, torch.stack([expected, torch.zeros_like(expected)]))


def test_jagged_weights_must_be_as_ragged_as_the_input() -> None:
    module = FastEmbeddingBag(ROWS, WIDTH, mode="sum")
    input = jagged([2, 1], "cpu")
    other = torch.nested.nested_tensor([torch.ones(1), torch.ones(2)], layout=torch.jagged)
    with pytest.raises(ValueError, match="per_sample_weights: expected the offsets of input"):
        module(input, None, other)
    with pytest.raises(ValueError, match="per_sample_weights: expected a jagged tensor"):
        module(input, None, torch.ones(3))
    with pytest.raises(ValueError, match="offsets: expected None with a jagged input"):
        module(input, torch.tensor([0]))


# --------------------------------------------------------------------------------------------------
# As modules


@pytest.mark.parametrize(
    "fast, plain", [(FastEmbedding, nn.Embedding), (FastEmbeddingBag, nn.EmbeddingBag)]
)
class TestModule:
    def test_is_a(self, fast: Any, plain: Any) -> None:
        module = fast(ROWS, WIDTH, padding_idx=-2)
        assert isinstance(module, plain)
        assert module.padding_idx == ROWS - 2
        assert not module.weight.eq(0).all()
        assert module.weight[module.padding_idx].eq(0).all()
        assert repr(module) == f"Fast{plain(ROWS, WIDTH, padding_idx=-2)}"

    def test_state_dicts_are_the_twins(self, fast: Any, plain: Any) -> None:
        first, second = fast(ROWS, WIDTH), plain(ROWS, WIDTH)
        second.load_state_dict(first.state_dict())
        assert torch.equal(first.weight, second.weight)
        first = fast(ROWS, WIDTH)
        first.load_state_dict(second.state_dict())
        assert torch.equal(first.weight, second.weight)

    def test_from_pretrained(self, fast: Any, plain: Any) -> None:
        values = torch.randn(ROWS, WIDTH)
        module = fast.from_pretrained(values, padding_idx=1, scale_grad_by_freq=True)
        assert type(module) is fast
        assert module.weight.data_ptr() == values.data_ptr()
        assert not module.weight.requires_grad
        assert (module.padding_idx, module.scale_grad_by_freq) == (1, True)
        assert not module(some_indices(3, 2)).requires_grad
        assert fast.from_pretrained(values, freeze=False).weight.requires_grad

    @pytest.mark.parametrize(
        "duplicate",
        [copy.copy, copy.deepcopy, lambda module: pickle.loads(pickle.dumps(module))],
        ids=["copy", "deepcopy", "pickle"],
    )
    def test_copies(self, fast: Any, plain: Any, duplicate: Callable[[Any], Any]) -> None:
        module = fast(ROWS, WIDTH, padding_idx=1, max_norm=100.0)
        other = duplicate(module)
        input = some_indices(3, 4)
        assert type(other) is fast
        assert repr(other) == repr(module)
        assert torch.equal(other(input), module(input))
        assert (other.weight is module.weight) == (duplicate is copy.copy)

    @pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16], ids=str)
    def test_to_dtype(self, fast: Any, plain: Any, dtype: torch.dtype) -> None:
        module = fast(ROWS, WIDTH).to(dtype)
        output = module(some_indices(3, 2))
        output.sum().backward()
        assert output.dtype == dtype
        assert module.weight.grad.dtype == dtype

    def test_meta_device(self, fast: Any, plain: Any) -> None:
        module = fast(ROWS, WIDTH, device="meta")
        output = module(torch.empty(3, 2, dtype=torch.long, device="meta"))
        expected = plain(ROWS, WIDTH)(torch.zeros(3, 2, dtype=torch.long))
        assert output.is_meta
        assert output.shape == expected.shape

    def test_functional_call(self, fast: Any, plain: Any) -> None:
        module = fast(ROWS, WIDTH)
        weight = torch.randn(ROWS, WIDTH, requires_grad=True)
        input = some_indices(3, 4)
        output = torch.func.functional_call(module, {"weight": weight}, (input,))
        (grad,) = torch.autograd.grad(output.sum(), weight)
        assert torch.equal(output, fast.from_pretrained(weight.detach())(input))
        assert grad.abs().sum() > 0
        assert module.weight.grad is None

    def test_max_norm_changes_are_noticed_by_autograd(self, fast: Any, plain: Any) -> None:
        module = fast(ROWS, WIDTH, max_norm=0.1)
        product = module.weight.square().sum()
        module(some_indices(3, 4))
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            product.backward()

    def test_sparse_gradients_are_torchs(self, fast: Any, plain: Any) -> None:
        module, other = fast(ROWS, WIDTH, sparse=True), plain(ROWS, WIDTH, sparse=True)
        other.load_state_dict(module.state_dict())
        input = some_indices(3, 4)
        module(input).square().sum().backward()
        other(input).square().sum().backward()
        assert module.weight.grad.is_coalesced()
        expected = other.weight.grad.coalesce()
        assert torch.equal(module.weight.grad.indices(), expected.indices())
        torch.testing.assert_close(module.weight.grad.values(), expected.values())

    def test_bad_index(self, fast: Any, plain: Any) -> None:
        module = fast(ROWS, WIDTH)
        with pytest.raises(IndexError, match=rf"expected values in \[0, {ROWS}\), got -1"):
            module(torch.tensor([[3, -1]]))


def test_functional_forms_refuse_padding_before_the_first_row() -> None:
    weight = torch.randn(ROWS, WIDTH)
    for function in (embed_ops.embedding, embed_ops.embedding_bag):
        with pytest.raises(ValueError, match=r"expected a value in \[-11, 11\), got -12"):
            function(some_indices(3, 2), weight, padding_idx=-12)


def test_a_frozen_table_gets_no_gradient() -> None:
    """The weights of the lookups are trained; the table's dense gradient is not even computed."""
    weight = torch.randn(ROWS, WIDTH)
    factors = torch.rand(3, 2, requires_grad=True)
    output = embed_ops.embedding_bag(
        some_indices(3, 2), weight, mode="mean", per_sample_weights=factors
    )
    with torch.profiler.profile() as profile:
        output.sum().backward()
    called = {event.key for event in profile.key_averages()}
    assert "embed_ops::embedding_bag_per_sample_weights_backward" in called
    assert "embed_ops::embedding_bag_dense_backward" not in called


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_tables_are_not_kept_for_backward(mode: str) -> None:
    kept: list[Tensor] = []
    weight = torch.randn(ROWS, WIDTH, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        embed_ops.embedding_bag(some_indices(3, 2), weight, mode=mode)
        embed_ops.embedding(some_indices(3, 2), weight)
        embed_ops.multi_embedding(some_indices(3, 1), weight, [ROWS], [WIDTH])
        embed_ops.multi_embedding(some_indices(3, 1), [weight])
    assert kept
    assert all(tensor.data_ptr() != weight.data_ptr() for tensor in kept)


# --------------------------------------------------------------------------------------------------
# FastMultiEmbedding


def some_multi_indices(batch: int, device: str = "cpu") -> Tensor:
    columns = [torch.randint(0, rows, (batch,), device=device) for rows in SIZES]
    return torch.stack(columns, dim=1)


def some_multi_bags(batch: int, device: str) -> tuple[list[Tensor], list[Tensor], Tensor, Tensor]:
    """Per table its indices and offsets, and all of them as FastMultiEmbedding takes them."""
    indices, offsets, ends = [], [], [0]
    for rows in SIZES:
        lengths = torch.randint(0, 4, (batch,))
        table_ends = [0, *lengths.cumsum(0).tolist()]
        indices.append(torch.randint(0, rows, (table_ends[-1],), device=device))
        offsets.append(torch.tensor(table_ends, device=device))
        ends += [ends[-1] + end for end in table_ends[1:]]
    # Every table's ends count on from the last table's.
    return indices, offsets, torch.cat(indices), torch.tensor(ends, device=device)


def separate_tables(module: FastMultiEmbedding, make: type[nn.Module], **options: Any) -> Any:
    """A torch.nn module for each table, with its weights."""
    tables = nn.ModuleList(
        make.from_pretrained(module.table(i).detach().clone(), freeze=False, **options)
        for i in range(len(SIZES))
    )
    return tables.to(module.weight.device)


def assert_gradients_are(module: FastMultiEmbedding, tables: Any) -> None:
    grads = FastMultiEmbedding(SIZES, DIMS, module.weight.grad, storage=module.storage)
    for i, table in enumerate(tables):
        torch.testing.assert_close(grads.table(i).detach(), table.weight.grad)


@pytest.mark.parametrize("storage", ["packed", "padded"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_multi_is_a_list_of_embeddings(storage: str, dtype: torch.dtype, device: str) -> None:
    module = FastMultiEmbedding(SIZES, DIMS, storage=storage, device=device, dtype=dtype)
    tables = separate_tables(module, nn.Embedding)
    input = some_multi_indices(50, device)
    output = module(input)
    expected = torch.cat([t(column) for t, column in zip(tables, input.unbind(1), strict=True)], 1)
    assert torch.equal(output, expected)
    weight = torch.randn_like(output)
    (output * weight).sum().backward()
    (expected * weight).sum().backward()
    assert module.weight.grad.shape == module.weight.shape
    assert_gradients_are(module, tables)


@pytest.mark.parametrize("storage", ["packed", "padded"])
@pytest.mark.parametrize("mode", ["sum", "mean"])
def test_pooled_multi_is_a_list_of_bags(storage: str, mode: str, device: str) -> None:
    module = FastMultiEmbedding(SIZES, DIMS, storage=storage, mode=mode, device=device)
    tables = separate_tables(module, nn.EmbeddingBag, mode=mode, include_last_offset=True)
    indices, offsets, all_indices, all_offsets = some_multi_bags(8, device)
    output = module(all_indices, all_offsets)
    expected = torch.cat(
        [table(i, o) for table, i, o in zip(tables, indices, offsets, strict=True)], dim=1
    )
    torch.testing.assert_close(output, expected)
    weight = torch.randn_like(output)
    (output * weight).sum().backward()
    (expected * weight).sum().backward()
    assert_gradients_are(module, tables)


@pytest.mark.parametrize("mode", ["sum", "mean"])
def test_pooled_multi_takes_weights(mode: str, device: str) -> None:
    module = FastMultiEmbedding(SIZES, DIMS, mode=mode, device=device)
    tables = separate_tables(module, FastEmbeddingBag, mode=mode, include_last_offset=True)
    indices, offsets, all_indices, all_offsets = some_multi_bags(8, device)
    factors = (torch.rand(all_indices.shape, device=device) + 0.5).requires_grad_()
    parts = factors.split([part.numel() for part in indices])
    expected = torch.cat([t(*x) for t, *x in zip(tables, indices, offsets, parts, strict=True)], 1)
    output = module(all_indices, all_offsets, factors)
    torch.testing.assert_close(output, expected)
    weight = torch.randn_like(output)
    grads = [torch.autograd.grad((o * weight).sum(), factors)[0] for o in (output, expected)]
    torch.testing.assert_close(*grads)


def test_multi_takes_a_list_of_tensors(device: str) -> None:
    module = FastMultiEmbedding(SIZES, DIMS, device=device)
    tables = [module.table(i).detach().requires_grad_(i != 1) for i in range(len(SIZES))]
    input = some_multi_indices(9, device)
    output = embed_ops.multi_embedding(input, tables)
    assert torch.equal(output, module(input))
    (output.sin().sum() + module(input).sin().sum()).backward()
    grads = FastMultiEmbedding(SIZES, DIMS, module.weight.grad)
    assert tables[1].grad is None
    for i in (0, 2):
        torch.testing.assert_close(tables[i].grad, grads.table(i).detach())


def test_multi_wants_sizes_with_one_tensor_only() -> None:
    module = FastMultiEmbedding(SIZES, DIMS)
    input = some_multi_indices(2)
    with pytest.raises(ValueError, match="expected values with a single weight, got None"):
        embed_ops.multi_embedding(input, module.weight)
    tables = [module.table(i) for i in range(len(SIZES))]
    with pytest.raises(ValueError, match="expected None with a sequence of weights, got values"):
        embed_ops.multi_embedding(input, tables, SIZES, DIMS)


def test_multi_attributes() -> None:
    module = FastMultiEmbedding(SIZES, DIMS)
    assert (module.embedding_sizes, module.embedding_dims) == (SIZES, DIMS)
    assert (module.storage, module.mode) == ("packed", None)
    assert module.weight.shape == (10 * 4 + 3 * 1 + 7 * 6,)
    assert list(module.state_dict()) == ["weight"]
    padded = FastMultiEmbedding(SIZES, DIMS, storage="padded")
    assert padded.weight.shape == (10, 11)
    assert repr(FastMultiEmbedding([4, 5], [3, 7])) == "FastMultiEmbedding([4, 5], [3, 7])"
    pooled = FastMultiEmbedding([4, 5], [3, 7], mode="mean")
    assert repr(pooled) == "FastMultiEmbedding([4, 5], [3, 7], mode='mean')"


@pytest.mark.parametrize("storage", ["packed", "padded"])
def test_tables_are_views(storage: str) -> None:
    module = FastMultiEmbedding(SIZES, DIMS, storage=storage)
    with torch.no_grad():
        for i in range(len(SIZES)):
            module.table(i).fill_(i + 1)
    output = module(some_multi_indices(4))
    assert torch.equal(output[0], torch.tensor([1.0] * 4 + [2.0] + [3.0] * 6))
    assert torch.equal(module.table(-1), module.table(2))
    module.table(1).sum().backward()
    assert module.weight.grad is not None
    assert module.weight.grad.sum() == SIZES[1] * DIMS[1]
    with pytest.raises(IndexError, match=r"table: expected a value in \[-3, 3\), got 3"):
        module.table(3)


@pytest.mark.parametrize("target", ["packed", "padded"])
@pytest.mark.parametrize("source", ["packed", "padded"])
def test_storages_load_and_convert(source: str, target: str) -> None:
    module = FastMultiEmbedding(SIZES, DIMS, storage=source)
    loaded = FastMultiEmbedding(SIZES, DIMS, storage=target)
    # As a submodule: keys have a prefix then.
    nn.Sequential(loaded).load_state_dict(nn.Sequential(module).state_dict())
    given = FastMultiEmbedding(SIZES, DIMS, module.weight.detach(), storage=target)
    assert (given.weight.data_ptr() == module.weight.data_ptr()) == (source == target)
    input = some_multi_indices(20)
    for other in (loaded, given):
        assert other.weight.shape == FastMultiEmbedding(SIZES, DIMS, storage=target).weight.shape
        assert torch.equal(other(input), module(input))


@pytest.mark.parametrize("storage", ["packed", "padded"])
def test_a_state_dict_of_the_original_loads(storage: str) -> None:
    weight = torch.randn(max(SIZES), sum(DIMS))
    membership = torch.tensor([i for i, width in enumerate(DIMS) for _ in range(width)])
    module = FastMultiEmbedding(SIZES, DIMS, storage=storage)
    module.load_state_dict({"weight": weight, "membership_index": membership})
    input = some_multi_indices(20)
    # What the original computes.
    assert torch.equal(module(input), weight.gather(0, input.index_select(1, membership)))


@pytest.mark.parametrize(
    "duplicate",
    [copy.copy, copy.deepcopy, lambda module: pickle.loads(pickle.dumps(module))],
    ids=["copy", "deepcopy", "pickle"],
)
def test_multi_copies(duplicate: Callable[[Any], Any]) -> None:
    module = FastMultiEmbedding(SIZES, DIMS, mode="sum")
    other = duplicate(module)
    _, _, indices, offsets = some_multi_bags(5, "cpu")
    assert torch.equal(other(indices, offsets), module(indices, offsets))
    half = duplicate(module).to(torch.bfloat16)
    assert half(indices, offsets).dtype == torch.bfloat16


def test_multi_functional_call() -> None:
    module = FastMultiEmbedding(SIZES, DIMS)
    weight = torch.randn_like(module.weight).requires_grad_()
    input = some_multi_indices(5)
    output = torch.func.functional_call(module, {"weight": weight}, (input,))
    assert torch.equal(output, FastMultiEmbedding(SIZES, DIMS, weight.detach())(input))
    output.sum().backward()
    assert weight.grad is not None
    assert module.weight.grad is None


@pytest.mark.parametrize(
    "arguments, options, text",
    [
        (([], []), {}, "embedding_sizes: expected at least 1 value, got 0 values"),
        (([1], []), {}, "embedding_dims: expected 1 values (as embedding_sizes), got 0 values"),
        (([1, -1], [1, 1]), {}, "embedding_sizes: expected values of at least 0, got -1"),
        (([1], [0]), {}, "embedding_dims: expected values of at least 1, got 0"),
        (
            ([2, 3], [1, 2], torch.zeros(9)),
            {},
            "_weight: expected shape (8,) (packed) or (3, 3) (padded), got shape (9,)",
        ),
        (([1], [1]), {"storage": "csr"}, "storage: expected 'packed' or 'padded', got 'csr'"),
        (([1], [1]), {"mode": "max"}, "mode: expected None, 'sum' or 'mean', got 'max'"),
    ],
)
def test_multi_construction_errors(
    arguments: tuple[Any, ...], options: dict[str, Any], text: str
) -> None:
    with pytest.raises(ValueError) as caught:
        FastMultiEmbedding(*arguments, **options)
    assert str(caught.value) == f"embed_ops::FastMultiEmbedding: {text}"


def test_offsets_belong_to_a_mode() -> None:
    indices, offsets = torch.tensor([0, 1]), torch.tensor([0, 1, 1, 2])
    with pytest.raises(ValueError, match="offsets: expected None with mode None, got a tensor"):
        FastMultiEmbedding(SIZES, DIMS)(indices, offsets)
    with pytest.raises(ValueError, match="offsets: expected a tensor with mode 'sum', got None"):
        FastMultiEmbedding(SIZES, DIMS, mode="sum")(indices)


# --------------------------------------------------------------------------------------------------
# What the original's own tests ask, of both modules it has


@pytest.mark.parametrize("storage", ["packed", "padded"])
class TestAsTheOriginal:
    TENS = torch.arange(0.0, 120.0, 10.0).view(4, 3)

    def test_is_initialized(self, storage: str) -> None:
        assert not FastEmbedding(4, 3).weight.eq(0).all()
        assert not FastMultiEmbedding([4], [3], storage=storage).weight.eq(0).all()

    def test_simple_forward(self, storage: str, device: str) -> None:
        rows = self.TENS.to(device)
        module = FastEmbedding(4, 3, _weight=rows)
        for input in ([1, 2, 1], [], [2], [[2]]):
            indices = torch.tensor(input, dtype=torch.int64, device=device)
            assert torch.equal(module(indices), rows[indices])
        multi = FastMultiEmbedding([4], [3], _weight=rows, storage=storage)
        for column in ([[1], [2], [1]], [[2]]):
            indices = torch.tensor(column, device=device)
            assert torch.equal(multi(indices), rows[indices[:, 0]])

    @pytest.mark.parametrize("length", [0, 1, 5])
    def test_one_dimension_is_one_column(self, storage: str, length: int) -> None:
        module = FastMultiEmbedding([4], [3], storage=storage)
        input = torch.randint(0, 4, (length,))
        output = module(input)
        assert input.shape == (length,)
        assert torch.equal(output, module(input.unsqueeze(1)))

    def test_simple_backward(self, storage: str, device: str) -> None:
        """Row i of the gradient of [1, 2, 1, 1, 3] is the sum of the gradients of its lookups."""
        per_lookup = torch.arange(1.0, 6.0, device=device)[:, None] * torch.tensor(
            [1.0, 10.0, 100.0], device=device
        )
        expected = torch.tensor([0.0, 8.0, 2.0, 5.0], device=device)[:, None] * torch.tensor(
            [1.0, 10.0, 100.0], device=device
        )
        indices = torch.tensor([1, 2, 1, 1, 3], device=device)
        module = FastEmbedding(4, 3, device=device)
        module(indices).backward(per_lookup)
        assert torch.equal(module.weight.grad, expected)
        multi = FastMultiEmbedding([4], [3], storage=storage, device=device)
        multi(indices[:, None]).backward(per_lookup)
        assert multi.weight.grad is not None
        assert torch.equal(multi.weight.grad.view(4, 3), expected)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
    def test_many_rows(self, storage: str, dtype: torch.dtype, device: str) -> None:
        """Forward and the gradient of a mean squared error, batch 8192, tables of 10 to 10,000."""
        sizes, dims, batch = [10, 100, 1000, 10000], [16, 9, 5, 3], 8192
        module = FastMultiEmbedding(sizes, dims, storage=storage).to(device, dtype)
        columns = [torch.randint(0, rows, (batch,), device=device) for rows in sizes]
        target = sum(columns).to(dtype) % 3
        output = module(torch.stack(columns, dim=1))
        tables = [module.table(i) for i in range(4)]
        looked_up = [table[column] for table, column in zip(tables, columns, strict=True)]
        assert torch.equal(output, torch.cat(looked_up, dim=1))
        nn.functional.mse_loss(output.sum(1), target).backward()
        slope = 2 * (output.detach().sum(1) - target) / batch
        grads = FastMultiEmbedding(sizes, dims, module.weight.grad, storage=storage)
        for i, (rows, column) in enumerate(zip(sizes, columns, strict=True)):
            expected = slope.new_zeros(rows).index_add(0, column, slope)
            table = grads.table(i).detach()
            torch.testing.assert_close(table, expected[:, None].expand_as(table), atol=1e-4, rtol=0)


# --------------------------------------------------------------------------------------------------
# Compiled, and in parallel


class EveryModule(nn.Module):
    """One of each, as a model would use them."""

    def __init__(self) -> None:
        super().__init__()
        self.one = FastEmbedding(ROWS, WIDTH, padding_idx=0, max_norm=1.5)
        self.bag = FastEmbeddingBag(ROWS, WIDTH, mode="mean", padding_idx=0)
        self.many = FastMultiEmbedding(SIZES, DIMS)

    def forward(self, rows: Tensor, bags: Tensor, offsets: Tensor, columns: Tensor) -> Tensor:
        parts = self.one(rows).relu(), self.bag(bags, offsets), self.many(columns).sin()
        return torch.cat(parts, dim=1).square().sum(1)


def inputs_of_every_module(batch: int, device: str) -> tuple[Tensor, ...]:
    bags = some_indices(3 * batch, device=device)
    offsets = torch.arange(0, 3 * batch, 3, device=device)
    rows = some_indices(batch, device=device)
    return rows, bags, offsets, some_multi_indices(batch, device)


def assert_same_step(first: nn.Module, second: nn.Module, *inputs: Tensor) -> None:
    outputs = [module(*inputs) for module in (first, second)]
    torch.testing.assert_close(*outputs)
    for module, output in zip((first, second), outputs, strict=True):
        module.zero_grad()
        output.sum().backward()
    pairs = zip(first.parameters(), second.parameters(), strict=True)
    for parameter, other in pairs:
        torch.testing.assert_close(parameter, other)
        torch.testing.assert_close(parameter.grad, other.grad)


@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
@pytest.mark.parametrize("dynamic", [False, True], ids=["static", "dynamic"])
def test_compiled(backend: str, dynamic: bool, device: str, fresh_compiler: None) -> None:
    model = EveryModule().to(device)
    compiled = torch.compile(copy.deepcopy(model), backend=backend, fullgraph=True, dynamic=dynamic)
    for batch in (4, 7) if dynamic else (4,):
        assert_same_step(model, compiled, *inputs_of_every_module(batch, device))


def test_compiled_with_jagged_input(fresh_compiler: None) -> None:
    module = FastEmbeddingBag(ROWS, WIDTH, mode="sum")
    compiled = torch.compile(copy.deepcopy(module), backend="aot_eager", fullgraph=True)
    input = jagged([2, 0, 5, 1], "cpu")
    weights = torch.nested.nested_tensor_from_jagged(torch.rand(8), input.offsets())
    assert_same_step(module, compiled, input, None, weights)


@pytest.fixture
def process_group() -> Iterator[None]:
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def test_data_parallel(process_group: None) -> None:
    model = EveryModule()
    parallel = DistributedDataParallel(copy.deepcopy(model))
    for batch in (4, 7):
        assert_same_step(model, parallel, *inputs_of_every_module(batch, "cpu"))
