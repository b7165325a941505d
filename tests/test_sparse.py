"""sparse=True: the gradient is the dense one's rows, coalesced, eager and compiled, and what torch
does with gradients takes it."""

from __future__ import annotations

import copy
import gc
import io
from collections.abc import Callable
from itertools import product

import pytest
import torch
from asserts import assert_same_bits
from samples import FLOAT_DTYPES
from sparse_models import COMPILED, ROWS, WIDTH, compiled, data, make
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import embed_ops
from embed_ops.ops.sparse_gradient.slot import _slots

ops = torch.ops.embed_ops

COUNT = 60

# --------------------------------------------------------------------------------------------------
# Every combination, against the dense gradient

SIZES = ((ROWS, WIDTH), (3, 5), (700, 12))


def calls_of(
    layout: str, mode: str, weighted: bool, padding: int | None, dtype: torch.dtype, device: str
) -> tuple[Callable[[list[Tensor], bool], Tensor], list[Tensor]]:
    """A lookup as a function of its weights and ``sparse``, and weights for it."""

    def table(rows: int, width: int) -> Tensor:
        return torch.randn(rows, width, device=device).to(dtype)

    weights = torch.rand(COUNT, device=device).add(0.5).to(dtype) if weighted else None
    if layout == "rows":
        indices = torch.randint(ROWS, (COUNT,), device=device)
        return (
            lambda w, sparse: embed_ops.embedding(indices, w[0], padding, sparse=sparse),
            [table(ROWS, WIDTH)],
        )
    if layout in ("fixed", "csr", "last offset"):
        indices = torch.randint(ROWS, (COUNT,), device=device)
        offsets = torch.tensor([0, 7, 7, 30, COUNT], device=device)
        if layout == "fixed":
            indices, offsets = indices.reshape(12, 5), None  # type: ignore[assignment]
            weights = weights if weights is None else weights.reshape(12, 5)
        elif layout == "csr":
            offsets = offsets[:-1]
        return (
            lambda w, sparse: embed_ops.embedding_bag(
                indices,
                w[0],
                offsets,
                mode=mode,
                sparse=sparse,
                per_sample_weights=weights,
                include_last_offset=layout == "last offset",
                padding_idx=padding,
            ),
            [table(ROWS, WIDTH)],
        )
    tables = [table(*size) for size in SIZES]
    if layout in ("tables", "list"):
        columns = [torch.randint(rows, (COUNT,), device=device) for rows, _ in SIZES]
        indices, offsets = torch.stack(columns, dim=1), None  # type: ignore[assignment]
    else:
        shares = [torch.randint(rows, (COUNT // 3,), device=device) for rows, _ in SIZES]
        indices = torch.cat(shares)
        offsets = torch.arange(13, device=device) * 5
    if layout.endswith("list"):
        return (
            lambda w, sparse: embed_ops.multi_embedding(
                indices, w, None, None, offsets, mode, weights, sparse
            ),
            tables,
        )
    sizes = [rows for rows, _ in SIZES], [width for _, width in SIZES]
    packed = torch.cat([weight.reshape(-1) for weight in tables])
    return (
        lambda w, sparse: embed_ops.multi_embedding(
            indices, w[0], *sizes, offsets, mode, weights, sparse
        ),
        [packed],
    )


# What each layout has, beside padding for those of one table.
MODES = {
    "rows": ("sum",),
    **dict.fromkeys(("fixed", "csr", "last offset"), ("sum", "mean", "max")),
    **dict.fromkeys(("tables", "list"), ("sum",)),
    **dict.fromkeys(("pooled", "pooled list"), ("sum", "mean")),
}
ONE_TABLE = ("rows", "fixed", "csr", "last offset")
UNWEIGHTED = ("rows", "tables", "list")

COMBINATIONS = [
    (layout, mode, weighted, padding)
    for layout, modes in MODES.items()
    for mode, weighted, padding in product(modes, (False, True), (None, 3))
    if not (weighted and (mode == "max" or layout in UNWEIGHTED))
    and not (padding is not None and layout not in ONE_TABLE)
]


def gradients(
    call: Callable[[list[Tensor], bool], Tensor],
    tables: list[Tensor],
    sparse: bool,
    grad_output: Callable[[Tensor], Tensor],
) -> list[Tensor]:
    leaves = [table.clone().requires_grad_() for table in tables]
    output = call(leaves, sparse)
    output.backward(grad_output(output))
    return [leaf.grad for leaf in leaves if leaf.grad is not None]


@pytest.mark.parametrize("deterministic", [False, True], ids=["default", "deterministic"])
@pytest.mark.parametrize("dtype", FLOAT_DTYPES, ids=str)
@pytest.mark.parametrize("combination", COMBINATIONS, ids=lambda c: "-".join(map(str, c)))
def test_the_dense_gradient(
    combination: tuple[str, str, bool, int | None],
    dtype: torch.dtype,
    deterministic: bool,
    device: str,
) -> None:
    call, tables = calls_of(*combination, dtype, device)
    drawn: list[Tensor] = []

    def grad_output(output: Tensor) -> Tensor:
        if not drawn:
            drawn.append(torch.randn_like(output))
        return drawn[0]

    torch.use_deterministic_algorithms(deterministic)
    try:
        sparse = gradients(call, tables, True, grad_output)
        dense = gradients(call, tables, False, grad_output)
        again = gradients(call, tables, True, grad_output)
    finally:
        torch.use_deterministic_algorithms(False)
    for actual, expected, same in zip(sparse, dense, again, strict=True):
        assert actual.layout == torch.sparse_coo
        assert actual.is_coalesced()
        assert actual.dtype == dtype
        indices = actual.indices()
        if indices.shape[0] == 1 and indices.shape[1] > 1:
            assert (indices[0].diff() > 0).all()
        # The order of additions may differ, not the terms.
        torch.testing.assert_close(actual.to_dense(), expected)
        assert_same_bits(actual.indices(), same.indices())
        assert_same_bits(actual.values(), same.values())  # deterministic in any case
        assert actual._nnz() < expected.numel()


@pytest.mark.parametrize("layout", ["tables", "pooled"])
def test_padded_storage_of_many_tables(layout: str, device: str) -> None:
    mode = None if layout == "tables" else "mean"
    modules = [
        embed_ops.FastMultiEmbedding(
            [5, 7, 3], [4, 8, 1], storage="padded", mode=mode, sparse=sparse, device=device
        )
        for sparse in (True, False)
    ]
    modules[1].load_state_dict(modules[0].state_dict())
    if mode is None:
        arguments = [torch.randint(3, (9, 3), device=device)]
    else:
        arguments = [torch.randint(3, (18,), device=device), torch.arange(10, device=device) * 2]
    for module in modules:
        module(*arguments).square().sum().backward()
    gradient = modules[0].weight.grad
    assert gradient.is_coalesced() and gradient.sparse_dim() == 2
    torch.testing.assert_close(gradient.to_dense(), modules[1].weight.grad)


def test_by_frequency(device: str) -> None:
    indices = torch.tensor([[1, 1, 2], [1, 4, 2]], device=device)
    weight = torch.randn(6, 4, device=device)
    for lookup in (embed_ops.embedding, embed_ops.embedding_bag):
        pair = [weight.clone().requires_grad_() for _ in range(2)]
        for leaf, sparse in zip(pair, (True, False), strict=True):
            lookup(indices, leaf, scale_grad_by_freq=True, sparse=sparse).sum().backward()
        torch.testing.assert_close(pair[0].grad.to_dense(), pair[1].grad)


def test_weights_of_lookups_get_their_gradient_too(device: str) -> None:
    indices = torch.randint(6, (4, 3), device=device)
    values = torch.rand(4, 3, device=device)
    found = []
    for sparse in (True, False):
        weight = torch.ones(6, 2, device=device, requires_grad=True)
        weights = values.clone().requires_grad_()
        output = embed_ops.embedding_bag(
            indices, weight * 1.5, sparse=sparse, per_sample_weights=weights
        )
        output.square().sum().backward()
        found.append((weight.grad.to_dense(), weights.grad))
    torch.testing.assert_close(found[0], found[1])


# --------------------------------------------------------------------------------------------------
# What torch does with gradients


OPTIMIZERS: dict[str, Callable[[list[Tensor]], torch.optim.Optimizer]] = {
    "SGD": lambda p: torch.optim.SGD(p, lr=0.1),
    "SGD with momentum": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
    "Adagrad": lambda p: torch.optim.Adagrad(p, lr=0.1),
}


@COMPILED
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_optimizers_step_as_with_dense_gradients(
    optimizer: str, backend: str | None, device: str, fresh_compiler: None
) -> None:
    models = [make(sparse, device) for sparse in (True, False)]
    steps = [compiled(models[0], backend), models[1]]
    optimizers = [OPTIMIZERS[optimizer](list(model.parameters())) for model in models]
    for number in range(4):
        for step, optim in zip(steps, optimizers, strict=True):
            optim.zero_grad()
            step(data(number, device)).square().mean().backward()
            optim.step()
    assert models[0][0].weight.grad.is_coalesced()
    torch.testing.assert_close(models[0].state_dict(), models[1].state_dict())


@COMPILED
def test_sparse_adam(backend: str | None, device: str, fresh_compiler: None) -> None:
    """As with torch's own sparse gradients: rows without a gradient keep their moments."""
    ours = embed_ops.FastEmbedding(ROWS, WIDTH, sparse=True, device=device)
    theirs = nn.Embedding(ROWS, WIDTH, sparse=True, device=device)
    theirs.load_state_dict(ours.state_dict())
    steps = [compiled(ours, backend), theirs]
    optimizers = [torch.optim.SparseAdam(module.parameters()) for module in (ours, theirs)]
    for number in range(4):
        for step, optim in zip(steps, optimizers, strict=True):
            optim.zero_grad()
            step(data(number, device)).square().mean().backward()
            optim.step()
    torch.testing.assert_close(ours.weight, theirs.weight)


@COMPILED
def test_amp_with_accumulation_and_clipping(
    backend: str | None, device: str, fresh_compiler: None
) -> None:
    models = [make(sparse, device) for sparse in (True, False)]
    steps = [compiled(models[0], backend), models[1]]
    clips = [embed_ops.clip_grad_norm_, nn.utils.clip_grad_norm_]
    norms: list[list[Tensor]] = [[], []]
    for which, (model, step) in enumerate(zip(models, steps, strict=True)):
        optim = torch.optim.SGD(model.parameters(), lr=0.1)
        scaler = torch.amp.GradScaler(device, init_scale=2.0**10)
        for number in range(3):
            optim.zero_grad()
            for part in range(3):
                with torch.autocast(device, dtype=torch.bfloat16):
                    output = step(data(3 * number + part, device))
                scaler.scale(output.float().square().mean()).backward()
                if which == 0:
                    assert model[0].weight.grad.is_coalesced()
            scaler.unscale_(optim)
            norms[which].append(clips[which](model.parameters(), 0.05))
            scaler.step(optim)
            scaler.update()
    torch.testing.assert_close(norms[0], norms[1], rtol=1e-2, atol=1e-4)
    torch.testing.assert_close(models[0].state_dict(), models[1].state_dict(), rtol=1e-2, atol=1e-4)


def test_the_scaler_finds_infinities_in_sparse_gradients(device: str) -> None:
    module = embed_ops.FastEmbedding(ROWS, WIDTH, sparse=True, device=device)
    before = module.weight.detach().clone()
    optim = torch.optim.SGD(module.parameters(), lr=0.1)
    scaler = torch.amp.GradScaler(device, init_scale=4.0)
    loss = module(data(0, device)).sum() * float("inf")
    scaler.scale(loss).backward()
    scaler.step(optim)
    scaler.update()
    assert scaler.get_scale() == 2.0
    assert_same_bits(module.weight, before)


@pytest.mark.parametrize("norm_type", [1.0, 2.0, float("inf")])
def test_clipping(norm_type: float, device: str) -> None:
    models = [make(sparse, device) for sparse in (True, False)]
    for model in models:
        model(data(0, device)).square().mean().backward()
    norms = [
        embed_ops.clip_grad_norm_(models[0].parameters(), 0.01, norm_type),
        nn.utils.clip_grad_norm_(models[1].parameters(), 0.01, norm_type),
    ]
    torch.testing.assert_close(norms[0], norms[1])
    torch.testing.assert_close(models[0][0].weight.grad.to_dense(), models[1][0].weight.grad)
    embed_ops.clip_grad_value_(models[0].parameters(), 1e-4)
    nn.utils.clip_grad_value_(models[1].parameters(), 1e-4)
    torch.testing.assert_close(models[0][0].weight.grad.to_dense(), models[1][0].weight.grad)
    with pytest.raises(RuntimeError, match="non-finite"):
        models[0][0].weight.grad._values().fill_(float("nan"))
        embed_ops.clip_grad_norm_(models[0][0].weight, 1.0, error_if_nonfinite=True)


def test_clipping_coalesces_what_is_not(device: str) -> None:
    weight = torch.zeros(5, 2, device=device, requires_grad=True)
    rows = torch.tensor([[1, 3, 1]], device=device)
    weight.grad = torch.sparse_coo_tensor(
        rows, torch.full((3, 2), 3.0, device=device), (5, 2), check_invariants=False
    )
    assert embed_ops.clip_grad_norm_(weight, 1e9).item() == pytest.approx(90**0.5)
    assert weight.grad.is_coalesced()


# --------------------------------------------------------------------------------------------------
# Accumulation


@COMPILED
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_gradients_accumulate_and_stay_coalesced(
    backend: str | None, dtype: torch.dtype, device: str, fresh_compiler: None
) -> None:
    module = embed_ops.FastEmbedding(ROWS, WIDTH, sparse=True, device=device, dtype=dtype)
    step = compiled(module, backend)
    total = torch.zeros(ROWS, WIDTH, dtype=torch.float64)
    for number in range(4):
        indices = data(number, device)
        grad_output = torch.randint(-3, 4, (*indices.shape, WIDTH), device=device).to(dtype)
        step(indices).backward(grad_output)
        total.index_add_(0, indices.cpu().reshape(-1), grad_output.cpu().double().flatten(0, 1))
        gradient = module.weight.grad
        assert gradient.is_coalesced()
        assert_same_bits(gradient.to_dense().cpu().double(), total)


def test_a_table_that_is_looked_up_twice(device: str) -> None:
    weight = torch.randn(ROWS, WIDTH, device=device, requires_grad=True)
    first, second = data(0, device), data(1, device)
    rows = embed_ops.embedding(first, weight, sparse=True)
    bags = embed_ops.embedding_bag(second, weight, sparse=True)
    (rows.sum() + bags.square().sum()).backward()
    assert weight.grad.is_coalesced()
    dense = weight.detach().clone().requires_grad_()
    rows, bags = embed_ops.embedding(first, dense), embed_ops.embedding_bag(second, dense)
    (rows.sum() + bags.square().sum()).backward()
    torch.testing.assert_close(weight.grad.to_dense(), dense.grad)


def test_the_first_gradient_is_not_copied(device: str) -> None:
    weight = torch.randn(ROWS, WIDTH, device=device, requires_grad=True)
    made = []
    weight.register_hook(lambda gradient: made.append(gradient._values().data_ptr()))
    embed_ops.embedding(data(0, device), weight, sparse=True).sum().backward()
    assert weight.grad._values().data_ptr() == made[0]
    assert weight.grad.is_coalesced()


def test_a_gradient_of_torchs_own_kernels_is_coalesced_too(device: str) -> None:
    weight = torch.randn(ROWS, WIDTH, device=device, requires_grad=True)
    embed_ops.embedding(data(0, device), weight, sparse=True)  # No gradient comes of it.
    nn.functional.embedding(data(0, device), weight, sparse=True).sum().backward()
    assert weight.grad.is_coalesced()
    dense = weight.detach().clone().requires_grad_()
    embed_ops.embedding(data(0, device), dense).sum().backward()
    torch.testing.assert_close(weight.grad.to_dense(), dense.grad)


def test_gradients_of_both_kinds_add_up(device: str) -> None:
    weight = torch.randn(ROWS, WIDTH, device=device, requires_grad=True)
    embed_ops.embedding(data(0, device), weight, sparse=True).sum().backward()
    embed_ops.embedding(data(0, device), weight).sum().backward()
    assert weight.grad.layout == torch.strided
    dense = weight.detach().clone().requires_grad_()
    (2 * embed_ops.embedding(data(0, device), dense).sum()).backward()
    torch.testing.assert_close(weight.grad, dense.grad)


# --------------------------------------------------------------------------------------------------
# Autograd, eager


def test_autograd_grad_and_weights_that_are_results(device: str) -> None:
    leaf = torch.randn(ROWS, WIDTH, device=device, requires_grad=True)
    indices = data(0, device)
    (gradient,) = torch.autograd.grad(embed_ops.embedding(indices, leaf, sparse=True).sum(), leaf)
    assert gradient.is_coalesced()
    embed_ops.embedding(indices, leaf * 2, sparse=True).sum().backward()
    torch.testing.assert_close(leaf.grad.to_dense(), 2 * gradient.to_dense())


@pytest.mark.parametrize(
    "lookup",
    [
        lambda indices, weight: embed_ops.embedding(indices, weight, sparse=True),
        lambda indices, weight: embed_ops.embedding_bag(indices, weight, sparse=True),
        lambda indices, weight: embed_ops.multi_embedding(indices, [weight] * 4, sparse=True),
    ],
    ids=["rows", "bags", "tables"],
)
def test_what_is_looked_up_without_weights_can_be_changed_in_place(
    lookup: Callable[[Tensor, Tensor], Tensor], device: str
) -> None:
    weight = torch.randn(ROWS, WIDTH, device=device, requires_grad=True)
    indices = data(0, device)
    (expected,) = torch.autograd.grad(2 * lookup(indices, weight).sum(), weight)
    lookup(indices, weight).mul_(2).sum().backward()
    torch.testing.assert_close(weight.grad.to_dense(), expected.to_dense())


@pytest.mark.parametrize("lookup", [embed_ops.embedding, embed_ops.embedding_bag])
def test_a_traced_lookup_takes_other_indices(lookup: Callable[..., Tensor]) -> None:
    weight = torch.randn(ROWS, WIDTH, requires_grad=True)
    indices = data(0, "cpu")
    traced = torch.jit.trace(
        lambda i, w: lookup(i, w, sparse=True).sin(), (indices, weight), check_trace=False
    )
    other = indices.flip(0)
    torch.testing.assert_close(traced(other, weight), lookup(other, weight).sin())


def test_transforms_are_refused() -> None:
    weight = torch.randn(ROWS, WIDTH)
    for lookup in (embed_ops.embedding, embed_ops.embedding_bag):
        with pytest.raises(RuntimeError, match=r"expected no transform of torch\.func"):
            torch.func.grad(lambda w, lookup=lookup: lookup(data(0, "cpu"), w, sparse=True).sum())(
                weight
            )


def test_activation_checkpoints(device: str) -> None:
    plain, checkpointed = make(True, device), make(True, device)
    plain(data(0, device)).square().sum().backward()
    checkpoint(checkpointed, data(0, device), use_reentrant=False).square().sum().backward()
    for one, other in zip(plain.parameters(), checkpointed.parameters(), strict=True):
        assert_same_bits(one.grad.to_dense(), other.grad.to_dense())


def test_there_is_no_second_derivative(device: str) -> None:
    weight = torch.randn(ROWS, WIDTH, device=device, requires_grad=True)
    output = embed_ops.embedding(data(0, device), weight, sparse=True).square().sum()
    (gradient,) = torch.autograd.grad(output, weight, create_graph=True)
    with pytest.raises(RuntimeError, match=r"once_differentiable|does not require grad"):
        gradient.to_dense().sum().backward()


@COMPILED
def test_frozen_tables_and_no_grad(backend: str | None, device: str, fresh_compiler: None) -> None:
    module = make(True, device)
    module[0].weight.requires_grad_(False)
    compiled(module, backend)(data(0, device)).sum().backward()
    assert module[0].weight.grad is None
    module[0].weight.requires_grad_(True)
    with torch.no_grad():
        assert not compiled(module, backend)(data(0, device)).requires_grad


def test_an_index_out_of_range_counts_for_nothing(device: str) -> None:
    weight = torch.randn(5, 2, device=device, requires_grad=True)
    with embed_ops.bounds_check("ignore"):
        indices = torch.tensor([1, -1, 9, 1], device=device)
        embed_ops.embedding(indices, weight, sparse=True).sum().backward()
    assert weight.grad.indices().tolist() == [[1]]
    assert weight.grad.values().tolist() == [[2.0, 2.0]]


def test_nothing_named(device: str) -> None:
    module = embed_ops.FastEmbedding(5, 2, sparse=True, padding_idx=1, device=device)
    for indices in (torch.tensor([1, 1], device=device), torch.zeros(0, 3, dtype=torch.int64)):
        module.weight.grad = None
        module(indices.to(device)).sum().backward()
        assert module.weight.grad.is_coalesced() and module.weight.grad._nnz() == 0
        torch.optim.SGD(module.parameters(), lr=1.0).step()


def test_room_for_too_few_rows(device: str) -> None:
    grad_output, indices = torch.ones(4, 2, device=device), torch.tensor([7, 1, 7, 3])
    arguments = grad_output, indices.to(device), 9, -1, False, 2
    text = (
        "embed_ops::embedding_compressed_backward_padded: "
        "size: expected at least the 3 rows that are named, got 2"
    )
    operator = torch.ops.embed_ops.embedding_compressed_backward_padded
    if device == "cpu":
        with pytest.raises(IndexError) as caught:
            operator(*arguments)
        assert str(caught.value) == text
        return
    values, rows, num_unique = operator(*arguments)
    with pytest.raises(IndexError) as caught:
        embed_ops.check_errors()
    assert str(caught.value) == text
    # What there is room for is right.
    assert num_unique.item() == 2
    assert rows.tolist() == [1, 3] and values.tolist() == [[1.0, 1.0], [1.0, 1.0]]


# --------------------------------------------------------------------------------------------------
# Copies, files, devices


@COMPILED
def test_copies_have_gradients_of_their_own(
    backend: str | None, device: str, fresh_compiler: None
) -> None:
    module = make(True, device)
    compiled(module, backend)(data(0, device)).sum().backward()
    file = io.BytesIO()
    torch.save(module, file)
    file.seek(0)
    loaded = torch.load(file, weights_only=False)
    for other in (copy.deepcopy(module), loaded):
        other.zero_grad()
        before = module[0].weight.grad
        compiled(other, backend)(data(1, device)).sum().backward()
        assert other[0].weight.grad.is_coalesced()
        assert module[0].weight.grad is before


def test_state_dicts_know_nothing_of_it() -> None:
    module = make(True, "cpu")
    module(data(0, "cpu")).sum().backward()
    assert set(module.state_dict()) == set(make(False, "cpu").state_dict())
    assert len(list(module.parameters())) == 3
    for saved in (module.state_dict(), module[0].weight):
        file = io.BytesIO()
        torch.save(saved, file)
        file.seek(0)
        torch.load(file, weights_only=True)


def test_what_belongs_to_a_weight_goes_with_it() -> None:
    gc.collect()
    before = len(_slots)
    module = make(True, "cpu")
    module(data(0, "cpu")).sum().backward()
    assert len(_slots) == before + 1
    del module
    gc.collect()
    assert len(_slots) == before


def test_replace_keeps_it() -> None:
    model = nn.Sequential(nn.Embedding(ROWS, WIDTH, sparse=True))
    assert str(embed_ops.replace(model)[0]) == "0: Embedding: FastEmbedding"
    model(data(0, "cpu")).sum().backward()
    assert model[0].weight.grad.is_coalesced()


def test_export_knows_nothing_of_it() -> None:
    module = make(True, "cpu")
    program = torch.export.export(module, (data(0, "cpu"),))
    names = [str(node.target) for node in program.graph.nodes]
    assert not any("attach" in name for name in names)
    torch.testing.assert_close(program.module()(data(0, "cpu")), module(data(0, "cpu")))


@pytest.mark.gpu
def test_a_module_that_moves(fresh_compiler: None) -> None:
    module = make(True, "cpu")
    step = torch.compile(module, fullgraph=True)
    step(data(0, "cpu")).sum().backward()
    module.to("cuda").zero_grad()
    step(data(0, "cuda")).sum().backward()
    assert module[0].weight.grad.is_cuda and module[0].weight.grad.is_coalesced()


@pytest.mark.gpu
def test_the_padded_form_is_captured_and_replayed() -> None:
    grad_output = torch.randn(5000, 32, device="cuda")
    indices = torch.randint(3000, (5000,), device="cuda")
    operator = torch.ops.embed_ops.embedding_compressed_backward_padded
    operator(grad_output, indices, 3000)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        values, rows, num_unique = operator(grad_output, indices, 3000)
    for high in (3000, 7, 1):
        indices.random_(high)
        grad_output.normal_()
        graph.replay()
        exact_values, exact_rows = torch.ops.embed_ops.embedding_compressed_backward(
            grad_output, indices, 3000
        )
        count = int(num_unique)
        assert count == exact_rows.numel()
        assert_same_bits(rows[:count], exact_rows)
        assert_same_bits(values[:count], exact_values)
        assert (rows[count:] == exact_rows[-1]).all() and not values[count:].any()


@pytest.mark.gpu
def test_more_than_2_to_the_31_elements() -> None:
    """Tables that would not fit, of which a few rows are named; and more than 96 tables."""
    rows, width = 2**33, 64
    indices = torch.tensor([rows - 1, 5, 2**32, rows - 1, 2**31], device="cuda")
    grad_output = torch.randn(5, width, device="cuda")
    values, named = torch.ops.embed_ops.embedding_compressed_backward(grad_output, indices, rows)
    assert named.tolist() == [5, 2**31, 2**32, rows - 1]
    torch.testing.assert_close(values[-1], grad_output[0] + grad_output[3])
    assert_same_bits(values[:3], grad_output[[1, 4, 2]])


@pytest.mark.parametrize(("dtype", "batch"), [(torch.float32, 11), (torch.bfloat16, 1100)])
@pytest.mark.parametrize("count", [96, 97, 130])
def test_many_tables(count: int, dtype: torch.dtype, batch: int, device: str) -> None:
    sizes, dims = [3 + t % 5 for t in range(count)], [1 + t % 4 for t in range(count)]
    indices = torch.stack([torch.randint(rows, (batch,)) for rows in sizes], dim=1).to(device)
    grad_output = torch.randn(batch, sum(dims), device=device).to(dtype)
    values, rows = torch.ops.embed_ops.multi_embedding_compressed_backward(
        grad_output, indices, sizes, dims
    )
    dense = torch.ops.embed_ops.multi_embedding_list_dense_backward(
        grad_output, indices, sizes, dims
    )
    for table, (value, named) in zip(dense, zip(values, rows, strict=True), strict=True):
        assert_same_bits(named, indices[:, 0:0].new_tensor(sorted(set(named.tolist()))))
        torch.testing.assert_close(value, table[named])
        table[named] = 0
        assert not table.any()
