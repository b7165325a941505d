"""sparse=True in compiled code: the gradient of eager code, from dense tensors of the graph."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from asserts import assert_same_bits
from sparse_models import ROWS, WIDTH, data, make
from torch import Tensor, nn
from torch._inductor.utils import run_and_get_code

import embed_ops
from embed_ops.inductor._torch import lower_to_first_argument
from embed_ops.inductor.direct import register_lowerings
from embed_ops.ops.sparse_gradient.compiled import lower_to_identity
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
    for size in (6, 6, 9):
        arguments = inputs(size, device)
        output = module(*arguments)
        grad_output = torch.randn_like(output)
        output.backward(grad_output)
        eager, module.weight.grad = module.weight.grad, None
        step(*arguments).backward(grad_output)
        found, module.weight.grad = module.weight.grad, None
        assert found.is_coalesced()
        assert_same_bits(found.indices(), eager.indices())
        assert_same_bits(found.values(), eager.values())


def test_opcheck_of_what_takes_gradients_out(device: str) -> None:
    weight = torch.randn(ROWS, WIDTH, device=device, requires_grad=True)
    slot = slot_of(weight)
    indices = data(0, device)
    output = torch.randn(*indices.shape, WIDTH, device=device, requires_grad=True)
    of_bags = torch.randn(9, WIDTH, device=device, requires_grad=True)
    handles = slot.placeholder, slot.ticket
    options = (ROWS, False, "none", False, -1)
    check = torch.library.opcheck
    check(ops.attach_gradient.default, (output, *handles, indices, None, None, None, *options))
    options = (ROWS, True, "mean", False, 3)
    check(ops.attach_gradient.default, (of_bags, *handles, indices, None, None, None, *options))
    side_by_side = torch.randn(9, 4 * WIDTH, device=device, requires_grad=True)
    lists = [slot.placeholder] * 4, [slot.ticket] * 4, [0, 1, 2, 3]
    sizes = [ROWS] * 4, [WIDTH] * 4, "sum"
    check(ops.attach_gradients.default, (side_by_side, *lists, indices, None, None, *sizes))
    pairs = [torch.ones(2, WIDTH, device=device)], [torch.tensor([1, 4], device=device)], [ROWS]
    check(ops.deposit.default, (slot.placeholder.detach(), slot.ticket, 0, *pairs))


def graphs_of(step: Callable[..., Tensor], *arguments: Any) -> list[str]:
    """The names of our operators in the ATen graphs, forward and backward."""
    found: list[list[str]] = []

    def note(graph_module: Any, _: Any) -> Any:
        names = [str(node.target) for node in graph_module.graph.nodes]
        found.append([name.split(".")[1] for name in names if name.startswith("embed_ops.")])
        return graph_module

    from torch._dynamo.backends.common import aot_autograd

    backend = aot_autograd(fw_compiler=note, bw_compiler=note)
    torch.compile(step, backend=backend, fullgraph=True)(*arguments).sum().backward()
    return [" ".join(names) for names in found]


def test_rows_and_values_are_dense_tensors_of_the_backward_graph(fresh_compiler: None) -> None:
    module = embed_ops.FastEmbedding(ROWS, WIDTH, sparse=True)
    forward, backward = graphs_of(module, data(0, "cpu"))
    assert forward == "embedding attach_gradient"
    assert backward.startswith("embedding_compressed_backward")
    assert module.weight.grad.is_coalesced()


@pytest.mark.parametrize(
    "registrations",
    [(register_lowerings, lower_to_identity), (lower_to_identity, register_lowerings)],
    ids=["after the backend", "before the backend"],
)
def test_inductor_drops_what_attaches(
    registrations: tuple[Callable[[], None], ...], fresh_compiler: None
) -> None:
    """Whichever is first in a process: our backend, or a lookup with sparse=True that is traced."""
    register_lowerings.cache_clear()
    lower_to_first_argument.cache_clear()
    for register in registrations:
        register()
    module = make(True, "cpu")
    step = torch.compile(module, fullgraph=True)
    with torch._inductor.config.patch(force_disable_caches=True):
        _, (code,) = run_and_get_code(step, data(0, "cpu"))
    assert "embedding_bag" in code
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
@pytest.mark.parametrize("fullgraph", [True, False], ids=["exact", "padded"])
def test_reduce_overhead(fullgraph: bool, fresh_compiler: None) -> None:
    """Inductor captures what it can and calls the rest; gradients outlive the next replay."""
    module = make(True, "cuda")
    dense = make(False, "cuda")
    step = torch.compile(module, mode="reduce-overhead", fullgraph=fullgraph)
    for number in range(6):
        if number % 3 == 0:
            module[0].zero_grad()
            dense[0].zero_grad()
        module[1].zero_grad()  # Dense gradients are the graph's own memory.
        torch.compiler.cudagraph_mark_step_begin()
        step(data(number, "cuda")).square().mean().backward()
        dense(data(number, "cuda")).square().mean().backward()
        torch.testing.assert_close(module[0].weight.grad.to_dense(), dense[0].weight.grad)
