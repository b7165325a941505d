"""sparse=True in compiled code: the gradient of eager code, by an operator of the graph."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from asserts import assert_same_bits
from sparse_models import ROWS, WIDTH, SeparateTables, data, make
from torch import Tensor, nn
from torch._inductor.utils import run_and_get_code
from torch.fx.experimental.symbolic_shapes import free_unbacked_symbols
from torch.utils.checkpoint import checkpoint

import embed_ops
from embed_ops.inductor import direct
from embed_ops.inductor._torch import lower_to_first_argument
from embed_ops.ops.sparse_gradient import compiled as in_compiled_code
from embed_ops.ops.sparse_gradient.coo import Pairs
from embed_ops.ops.sparse_gradient.slot import Slot, slot_of

ops = torch.ops.embed_ops

MODULES: dict[str, tuple[Callable[[bool, str], nn.Module], Callable[[int, str], list[Tensor]]]] = {
    "embedding": (
        lambda sparse, device: embed_ops.FastEmbedding(
            ROWS, WIDTH, padding_idx=2, sparse=sparse, device=device
        ),
        lambda size, device: [torch.randint(ROWS, (size, 3), device=device)],
    ),
    **{
        f"bag {mode}": (
            lambda sparse, device, mode=mode: embed_ops.FastEmbeddingBag(
                ROWS, WIDTH, mode=mode, sparse=sparse, device=device
            ),
            lambda size, device: [
                torch.randint(ROWS, (3 * size,), device=device),
                torch.arange(size, device=device) * 3,
            ],
        )
        for mode in ("sum", "mean", "max")
    },
    "packed tables": (
        lambda sparse, device: embed_ops.FastMultiEmbedding(
            [5, 70, 30], [4, 8, 1], sparse=sparse, device=device
        ),
        lambda size, device: [torch.randint(5, (size, 3), device=device)],
    ),
    "pooled tables": (
        lambda sparse, device: embed_ops.FastMultiEmbedding(
            [5, 70], [4, 8], mode="mean", sparse=sparse, device=device
        ),
        lambda size, device: [
            torch.randint(5, (4 * size,), device=device),
            torch.arange(2 * size + 1, device=device) * 2,
        ],
    ),
    "separate tables": (
        SeparateTables,
        lambda size, device: [torch.randint(5, (size, 3), device=device)],
    ),
}


@pytest.mark.parametrize("fullgraph", [True, False], ids=["fullgraph", "with breaks allowed"])
@pytest.mark.parametrize("dynamic", [False, True], ids=["static", "dynamic"])
@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
@pytest.mark.parametrize("name", MODULES)
def test_compiled_and_eager_have_the_same_gradient(
    name: str, backend: str, dynamic: bool, fullgraph: bool, device: str, fresh_compiler: None
) -> None:
    build, inputs = MODULES[name]
    module = build(True, device)
    step = torch.compile(module, backend=backend, fullgraph=fullgraph, dynamic=dynamic)
    weights = [weight for weight in module.parameters() if weight.requires_grad]
    for size in (6, 6, 9):
        arguments = inputs(size, device)
        output = module(*arguments)
        grad_output = torch.randn_like(output)
        output.backward(grad_output)
        eager = [weight.grad for weight in weights]
        module.zero_grad()
        step(*arguments).backward(grad_output)
        for weight, expected in zip(weights, eager, strict=True):
            assert weight.grad.is_coalesced()
            assert_same_bits(weight.grad.indices(), expected.indices())
            assert_same_bits(weight.grad.values(), expected.values())
        module.zero_grad()


def test_opcheck_of_what_takes_gradients_out(device: str) -> None:
    weight = torch.randn(ROWS, WIDTH, device=device, requires_grad=True)
    slot = slot_of(weight)
    indices = data(0, device)
    none = None, None, None
    of_rows = torch.randn(*indices.shape, WIDTH, device=device)
    of_bags = torch.randn(9, WIDTH, device=device)
    check = torch.library.opcheck
    for output, options in (
        (of_rows, (ROWS, False, "none", False, -1)),
        (of_bags, (ROWS, True, "mean", False, 3)),
    ):
        rest = indices, *none, *options
        handles = slot.placeholder, slot.ticket
        check(ops.attach_gradient.default, (output.clone().requires_grad_(), *handles, *rest))
        handles = slot.placeholder.detach(), slot.ticket
        check(ops.deposit_gradient.default, (*handles, 0, output, *rest))
    side_by_side = torch.randn(9, 4 * WIDTH, device=device)
    rest = indices, None, None, [ROWS] * 4, [WIDTH] * 4, "sum"
    tickets, tables = [slot.ticket] * 4, [0, 1, 2, 3]
    handles = [slot.placeholder] * 4, tickets, tables
    check(ops.attach_gradients.default, (side_by_side.clone().requires_grad_(), *handles, *rest))
    handles = [slot.placeholder.detach()] * 4, tickets, 0, tables
    check(ops.deposit_gradients.default, (*handles, side_by_side, *rest))


def graphs_of(step: Callable[..., Tensor], *arguments: Any, dynamic: bool) -> list[torch.fx.Graph]:
    """The ATen graphs, forward and backward."""
    found: list[torch.fx.Graph] = []

    def note(graph_module: Any, _: Any) -> Any:
        found.append(graph_module.graph)
        return graph_module

    from torch._dynamo.backends.common import aot_autograd

    backend = aot_autograd(fw_compiler=note, bw_compiler=note)
    compiled = torch.compile(step, backend=backend, fullgraph=True, dynamic=dynamic)
    compiled(*arguments).sum().backward()
    return found


def our_operators(graph: torch.fx.Graph) -> list[str]:
    names = [str(node.target) for node in graph.nodes]
    return [name.split(".")[1] for name in names if name.startswith("embed_ops.")]


@pytest.mark.parametrize("dynamic", [False, True], ids=["static", "dynamic"])
@pytest.mark.parametrize("name", MODULES)
def test_the_backward_graph_knows_every_size(
    name: str, dynamic: bool, fresh_compiler: None
) -> None:
    """How many rows are named, which only the data say, is the business of one operator in it."""
    build, inputs = MODULES[name]
    forward, backward = graphs_of(build(True, "cpu"), *inputs(6, "cpu"), dynamic=dynamic)
    _, attach = our_operators(forward)
    (deposit,) = our_operators(backward)
    assert deposit == attach.replace("attach", "deposit")
    for node in backward.nodes:
        assert not free_unbacked_symbols(node.meta.get("val"))


def test_nothing_is_computed_that_nobody_would_collect(monkeypatch: pytest.MonkeyPatch) -> None:
    counts: list[int] = []
    monkeypatch.setattr(in_compiled_code, "compressed", lambda *_: counts.append(1))
    monkeypatch.setattr(in_compiled_code, "compressed_tables", lambda *_: counts.append(1))
    weight = torch.randn(ROWS, WIDTH, requires_grad=True)
    placeholder, ticket = slot_of(weight).placeholder.detach(), slot_of(weight).ticket
    indices, none = data(0, "cpu"), (None, None, None)
    one = indices, *none, ROWS, False, "none", False, -1
    many = indices, None, None, [ROWS] * 4, [WIDTH] * 4, "sum"

    def deposit(*_: Any) -> None:
        grad_output = torch.ones(9, 4, WIDTH)
        found = ops.deposit_gradient(placeholder, ticket, 0, grad_output, *one)
        assert_same_bits(found, placeholder)
        handles = [placeholder] * 2, [ticket] * 2, 1, [0, 3]
        found = ops.deposit_gradients(*handles, grad_output.flatten(1), *many)
        assert_same_bits(found[1], placeholder)

    deposit()  # No backward runs.
    del weight
    gc.collect()
    result = torch.ones(2, requires_grad=True) * 2
    result.register_hook(deposit)
    result.sum().backward()  # One runs, and the weight is gone.
    assert not counts


@pytest.mark.parametrize(
    "registrations",
    [
        (direct.register_lowerings, in_compiled_code.register_lowerings),
        (in_compiled_code.register_lowerings, direct.register_lowerings),
    ],
    ids=["after the backend", "before the backend"],
)
def test_inductor_drops_what_attaches_and_calls_the_kernel(
    registrations: tuple[Callable[[], None], ...], fresh_compiler: None
) -> None:
    """Whichever is first in a process: our backend, or a lookup with sparse=True that is traced."""
    direct.register_lowerings.cache_clear()
    lower_to_first_argument.cache_clear()
    for register in registrations:
        register()
    module = make(True, "cpu")
    step = torch.compile(module, fullgraph=True)
    with torch._inductor.config.patch(force_disable_caches=True):
        _, (code,) = run_and_get_code(step, data(0, "cpu"))
    assert "embedding_bag.default._op_dk" in code
    assert "attach_gradient" not in code


def test_one_graph_serves_every_weight(fresh_compiler: None) -> None:
    """Two layers of one class share compiled code, and each gets its own gradient."""
    layers = [embed_ops.FastEmbedding(ROWS, WIDTH, sparse=True) for _ in range(3)]
    indices = data(0, "cpu")
    for layer in layers:
        layer(indices)  # Makes what belongs to the weight.

    @torch.compile(backend="aot_eager", fullgraph=True)
    def step(layer: nn.Module, indices: Tensor) -> Tensor:
        return layer(indices).sum()

    for number, layer in enumerate(layers):
        with torch._dynamo.config.patch(error_on_recompile=number > 0):
            (step(layer, indices) * (number + 1)).backward()
    for number, layer in enumerate(layers):
        assert layer.weight.grad.values().amax().item() % (number + 1) == 0
        expected = torch.ops.embed_ops.embedding_dense_backward(
            torch.full((9, 4, WIDTH), number + 1.0), indices, ROWS
        )
        assert_same_bits(layer.weight.grad.to_dense(), expected)


def test_a_step_costs_the_host_little(fresh_compiler: None) -> None:
    """Nothing is compiled again, and what hands the gradient on fills, copies and reads nothing:
    on a GPU each would be a launch or a wait."""
    module = embed_ops.FastEmbedding(ROWS, WIDTH, sparse=True)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    step = torch.compile(module, backend="aot_eager", fullgraph=True)
    grad_output = torch.ones(9, 4, WIDTH)

    def train(number: int) -> None:
        optimizer.zero_grad(set_to_none=True)
        step(data(number, "cpu")).backward(grad_output)

    train(0)
    optimizer.step()
    with torch._dynamo.config.patch(error_on_recompile=True), torch.profiler.profile() as profile:
        train(1)
    watched = ("fill_", "zero_", "copy_", "clone", "item", "coalesce", "_validate_sparse")
    names = [event.name.removeprefix("aten::") for event in profile.events()]
    found = sorted(name for name in names if name.startswith(watched))
    # attach_gradient, which Inductor drops; the ticket, on the CPU; the placeholder's gradient.
    assert found == ["clone", "copy_", "item", "zero_"]


def test_the_hooks_of_a_weight_run_in_compiled_code(fresh_compiler: None) -> None:
    module = embed_ops.FastEmbedding(ROWS, WIDTH, sparse=True)
    seen: list[Any] = []
    module.weight.register_hook(seen.append)
    module.weight.register_post_accumulate_grad_hook(lambda weight: seen.append(weight.grad))
    torch.compile(module, backend="aot_eager", fullgraph=True)(data(0, "cpu")).sum().backward()
    # The graph itself brings no gradient, which torch tells the hooks too.
    before, after = [gradient for gradient in seen if gradient is not None]
    assert before.layout == torch.sparse_coo
    assert after is module.weight.grad


def test_a_gradient_that_flows_on_in_the_graph_is_dense(fresh_compiler: None) -> None:
    weight = torch.randn(ROWS, WIDTH, requires_grad=True)

    def step(weight: Tensor, indices: Tensor) -> Tensor:
        return embed_ops.embedding(indices, weight * 2, sparse=True).square().sum()

    torch.compile(step, backend="aot_eager", fullgraph=True)(weight, data(0, "cpu")).backward()
    dense = weight.detach().clone().requires_grad_()
    step(dense, data(0, "cpu")).backward()
    torch.testing.assert_close(weight.grad, dense.grad.to_dense())


@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_the_same_lookup_twice_counts_twice(backend: str, fresh_compiler: None) -> None:
    """Though it is a common subexpression, forward and backward."""
    weight = torch.randn(ROWS, WIDTH, requires_grad=True)

    def step(weight: Tensor, indices: Tensor) -> Tensor:
        first = embed_ops.embedding(indices, weight, sparse=True)
        second = embed_ops.embedding(indices, weight, sparse=True)
        return first.sum() + second.sum()

    torch.compile(step, backend=backend, fullgraph=True)(weight, data(0, "cpu")).backward()
    found, weight.grad = weight.grad, None
    step(weight, data(0, "cpu")).backward()
    assert found.is_coalesced()
    assert_same_bits(found.to_dense(), weight.grad.to_dense())


def test_gradient_accumulation_over_several_calls_before_one_backward(
    fresh_compiler: None,
) -> None:
    module = embed_ops.FastEmbedding(ROWS, WIDTH, sparse=True)
    step = torch.compile(module, backend="aot_eager", fullgraph=True)
    loss = sum(step(data(number, "cpu")).square().sum() for number in range(3))
    assert isinstance(loss, Tensor)
    loss.backward()
    dense = module.weight.detach().clone().requires_grad_()
    expected = sum(embed_ops.embedding(data(n, "cpu"), dense).square().sum() for n in range(3))
    assert isinstance(expected, Tensor)
    expected.backward()
    assert module.weight.grad.is_coalesced()
    torch.testing.assert_close(module.weight.grad.to_dense(), dense.grad)


@pytest.mark.parametrize("inside", [True, False], ids=["in the graph", "around the graph"])
def test_activation_checkpoints(inside: bool, fresh_compiler: None) -> None:
    plain, checkpointed = make(True, "cpu"), make(True, "cpu")
    plain(data(0, "cpu")).square().sum().backward()

    def compiled(step: Callable[..., Any]) -> Callable[..., Any]:
        return torch.compile(step, backend="aot_eager", fullgraph=True)

    def around(step: Callable[..., Any]) -> Callable[..., Any]:
        return lambda indices: checkpoint(step, indices, use_reentrant=False)

    step = compiled(around(checkpointed)) if inside else around(compiled(checkpointed))
    step(data(0, "cpu")).square().sum().backward()
    for one, other in zip(plain.parameters(), checkpointed.parameters(), strict=True):
        torch.testing.assert_close(one.grad.to_dense(), other.grad.to_dense())


def test_one_weight_for_two_of_several_tables(fresh_compiler: None) -> None:
    first, second = (torch.randn(ROWS, WIDTH, requires_grad=True) for _ in range(2))
    indices = torch.randint(ROWS, (9, 3))

    def step(indices: Tensor) -> Tensor:
        tables = [first, second, first]
        return embed_ops.multi_embedding(indices, tables, sparse=True).square().sum()

    torch.compile(step, backend="aot_eager", fullgraph=True)(indices).backward()
    found = [weight.grad for weight in (first, second)]
    first.grad = second.grad = None
    step(indices).backward()
    for gradient, weight in zip(found, (first, second), strict=True):
        assert gradient is not None and weight.grad is not None
        assert gradient.is_coalesced()
        torch.testing.assert_close(gradient.to_dense(), weight.grad.to_dense())


def test_a_backward_that_fails_leaves_nothing_behind(fresh_compiler: None) -> None:
    module = embed_ops.FastEmbedding(ROWS, WIDTH, sparse=True)
    step = torch.compile(module, backend="aot_eager", fullgraph=True)
    scale = torch.ones(3, requires_grad=True)

    def fail(gradient: Tensor) -> None:
        raise ZeroDivisionError

    hook = module.weight.register_hook(fail)
    with pytest.raises(ZeroDivisionError):
        step(data(0, "cpu")).sum().backward()
    hook.remove()
    module.weight.grad = None
    (step(data(1, "cpu")).sum() * scale.sum()).backward()
    dense = module.weight.detach().clone().requires_grad_()
    (embed_ops.embedding(data(1, "cpu"), dense).sum() * 3).backward()
    torch.testing.assert_close(module.weight.grad.to_dense(), dense.grad)


def deposited(module: nn.Module, run: Callable[[], None]) -> list[weakref.ref[Tensor]]:
    """The values that reach the slot of ``module.weight`` meanwhile."""
    found: list[weakref.ref[Tensor]] = []
    deposit = Slot.deposit

    def watched(slot: Slot, pairs: Pairs) -> None:
        assert slot.fits(module.weight)
        found.extend(weakref.ref(values) for values in pairs.values)
        deposit(slot, pairs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Slot, "deposit", watched)
        run()
    gc.collect()
    return found


def test_what_no_backward_collects_goes_with_it(fresh_compiler: None) -> None:
    module = embed_ops.FastEmbedding(ROWS, WIDTH, sparse=True)
    step = torch.compile(lambda x, scale: module(x) * scale, backend="aot_eager", fullgraph=True)
    scale = torch.ones(WIDTH, requires_grad=True)

    def of_another_input() -> None:
        torch.autograd.grad(step(data(0, "cpu"), scale).sum(), scale)

    def that_fails() -> None:
        def fail(gradient: Tensor) -> None:
            raise ZeroDivisionError

        hook = slot_of(module.weight).placeholder.register_hook(fail)
        with pytest.raises(ZeroDivisionError):
            step(data(0, "cpu"), scale).sum().backward()
        hook.remove()

    for backward in (of_another_input, that_fails):
        values = deposited(module, backward)
        assert len(values) == 1
        assert values[0]() is None


def test_a_backward_inside_of_another(fresh_compiler: None) -> None:
    module = embed_ops.FastEmbedding(ROWS, WIDTH, sparse=True)
    step = torch.compile(module, backend="aot_eager", fullgraph=True)

    def another(*_: Any) -> None:
        with torch.enable_grad():
            step(data(1, "cpu")).sum().backward()

    output = step(data(0, "cpu"))
    output.grad_fn.register_hook(another)
    output.sum().backward()
    dense = module.weight.detach().clone().requires_grad_()
    sum(embed_ops.embedding(data(n, "cpu"), dense).sum() for n in (0, 1)).backward()
    torch.testing.assert_close(module.weight.grad.to_dense(), dense.grad)


@pytest.mark.gpu
@pytest.mark.parametrize("fullgraph", [True, False], ids=["fullgraph", "with breaks allowed"])
@pytest.mark.parametrize("lookup", ["one table", "separate tables"])
def test_reduce_overhead(lookup: str, fullgraph: bool, fresh_compiler: None) -> None:
    """Inductor captures what it can and calls the rest; gradients outlive the next replay."""

    def model(sparse: bool) -> nn.Module:
        if lookup == "one table":
            return make(sparse, "cuda")
        return nn.Sequential(SeparateTables(sparse, "cuda"), nn.Linear(13, 3, device="cuda"))

    module, dense = model(True), model(False)
    dense.load_state_dict(module.state_dict())
    step = torch.compile(module, mode="reduce-overhead", fullgraph=fullgraph)
    for number in range(6):
        if number % 3 == 0:
            module[0].zero_grad()
            dense[0].zero_grad()
        module[1].zero_grad()  # Dense gradients are the graph's own memory.
        torch.compiler.cudagraph_mark_step_begin()
        indices = data(number, "cuda")
        if lookup == "separate tables":
            indices = indices[:, :3] % 5
        step(indices).square().mean().backward()
        dense(indices).square().mean().backward()
        for weight, expected in zip(module[0].parameters(), dense[0].parameters(), strict=True):
            if weight.requires_grad:
                torch.testing.assert_close(weight.grad.to_dense(), expected.grad)
