"""torch.func: lookups and their dense gradients inside of its transforms, to any depth, give what
autograd gives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from calls import as_function_of_leaves
from samples import COMPRESSED, PURE_SAMPLES, TRANSFORMS, Sample
from torch import Tensor
from torch.autograd import forward_ad
from torch.func import functional_call, grad, hessian, jacrev, jvp, vjp, vmap
from torch.nn import functional as F

import embed_ops

# vmap calls the ops once for each element, and says so.
pytestmark = pytest.mark.filterwarnings("ignore:There is a performance drop")

Function = Callable[..., tuple[Tensor, ...]]

# Index transforms and compressed gradients return rows and counts, and are for autograd alone.
SMALL_SAMPLES = [s for s in PURE_SAMPLES if s.op not in COMPRESSED | TRANSFORMS and not s.large]


def by_autograd(function: Function) -> Function:
    """(inputs, gradients of the outputs) -> the gradients of the inputs, differentiable."""

    def gradients(*tensors: Tensor) -> tuple[Tensor, ...]:
        inputs, outgoing = _halves(function, tensors)
        return torch.autograd.grad(
            function(*inputs), inputs, outgoing, create_graph=True, materialize_grads=True
        )

    return gradients


def by_func(function: Function) -> Function:
    def gradients(*tensors: Tensor) -> tuple[Tensor, ...]:
        inputs, outgoing = _halves(function, tensors)
        return vjp(function, *inputs)[1](outgoing)

    return gradients


def _halves(function: Any, tensors: tuple[Tensor, ...]) -> tuple[Any, Any]:
    count = function.count
    return tensors[:count], tensors[count:]


def twice(differentiate: Callable[[Function], Function], sample: Sample, device: str) -> Any:
    """The first and the second derivatives of a sample, in random directions."""
    function, inputs = as_function_of_leaves(sample.op, sample.arguments(device, torch.float64))
    torch.manual_seed(0)
    function.count = len(inputs)  # type: ignore[attr-defined]
    inputs = [*inputs, *(torch.randn_like(out).requires_grad_() for out in function(*inputs))]
    first = differentiate(function)
    first.count = len(inputs)  # type: ignore[attr-defined]
    gradients = first(*inputs)
    directions = [torch.randn_like(gradient) for gradient in gradients]
    return gradients, differentiate(first)(*inputs, *directions)


@pytest.mark.parametrize("sample", SMALL_SAMPLES, ids=str)
def test_vjp_of_vjp(sample: Sample, device: str) -> None:
    torch.testing.assert_close(twice(by_func, sample, device), twice(by_autograd, sample, device))


@pytest.fixture
def table(device: str) -> Tensor:
    torch.manual_seed(0)
    return torch.randn(6, 4, dtype=torch.float64, device=device)


@pytest.fixture
def indices(device: str) -> Tensor:
    return torch.tensor([[1, 2, 0], [5, 5, 3]], device=device)


def ours(table: Tensor, indices: Tensor) -> Tensor:
    return embed_ops.embedding(indices, table).sin().sum()


def theirs(table: Tensor, indices: Tensor) -> Tensor:
    return F.embedding(indices, table).sin().sum()


def squared_gradient(function: Any, table: Tensor, indices: Tensor) -> Tensor:
    return grad(function)(table, indices).square().sum()


@pytest.mark.parametrize(
    "transform",
    [
        grad,
        lambda f: jacrev(jacrev(f)),
        lambda f: vmap(grad(f), (None, 0)),
        lambda f: grad(lambda *args: squared_gradient(f, *args)),
    ],
    ids=["grad", "hessian", "gradients of each sample", "grad of grad"],
)
def test_transforms_of_the_public_functions(transform: Any, table: Tensor, indices: Tensor) -> None:
    torch.testing.assert_close(transform(ours)(table, indices), transform(theirs)(table, indices))


def test_autograd_around_a_transform(table: Tensor, indices: Tensor) -> None:
    table.requires_grad_()
    torch.testing.assert_close(
        *(
            torch.autograd.grad(squared_gradient(function, table * 2, indices), table)
            for function in (ours, theirs)
        )
    )


def test_autograd_through_a_vjp_that_has_ended(table: Tensor, indices: Tensor) -> None:
    table.requires_grad_()
    weights = torch.rand(indices.shape, dtype=torch.float64, device=table.device)

    def gradient(bag: Callable[[Tensor, Tensor], Tensor]) -> Any:
        output, pull = vjp(bag, table, weights)
        return torch.autograd.grad(
            sum(each.square().sum() for each in pull(output)), table, retain_graph=True
        )

    def bag(table: Tensor, weights: Tensor) -> Tensor:
        return embed_ops.embedding_bag(indices, table, mode="sum", per_sample_weights=weights)

    def plain_bag(table: Tensor, weights: Tensor) -> Tensor:
        return (F.embedding(indices, table) * weights[..., None]).sum(1)

    torch.testing.assert_close(gradient(bag), gradient(plain_bag))


def test_tensors_left_by_a_transform_that_has_ended(table: Tensor, indices: Tensor) -> None:
    left = []

    def leave(leaf: Tensor) -> Tensor:
        left.append(leaf)
        return leaf.sum()

    table.requires_grad_()
    grad(leave)(table)
    for function in (ours, theirs):
        (gradient,) = torch.autograd.grad(function(left[0], indices), table)
        torch.testing.assert_close(gradient, torch.autograd.grad(theirs(table, indices), table)[0])
    flat = indices.reshape(-1, 1)
    rows = embed_ops.multi_embedding(flat, [left[0]])
    (gradient,) = torch.autograd.grad(rows.sin().sum(), table)
    torch.testing.assert_close(gradient, torch.autograd.grad(theirs(table, indices), table)[0])


def test_no_grad_inside_of_a_transform(table: Tensor, indices: Tensor) -> None:
    def loss(lookup: Callable[..., Tensor]) -> Callable[[Tensor], Tensor]:
        def function(table: Tensor) -> Tensor:
            with torch.no_grad():
                constant = lookup(indices, table)
            return (lookup(indices, table) * constant).sum()

        return function

    torch.testing.assert_close(
        grad(loss(embed_ops.embedding))(table), grad(loss(F.embedding))(table)
    )


def test_functional_call(table: Tensor, indices: Tensor) -> None:
    module = embed_ops.FastEmbedding(6, 4)
    gradient = grad(lambda w: functional_call(module, {"weight": w}, (indices,)).sin().sum())
    torch.testing.assert_close(gradient(table), grad(theirs)(table, indices))


@pytest.mark.parametrize("requires_grad", [False, True])
def test_forward_mode_is_refused(requires_grad: bool, table: Tensor, indices: Tensor) -> None:
    table.requires_grad_(requires_grad)
    text = "embed_ops::embedding: expected tensors without tangents"
    with pytest.raises(NotImplementedError, match=text):
        jvp(lambda w: ours(w, indices), (table,), (table,))
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(table, torch.ones_like(table))
        with pytest.raises(NotImplementedError, match=text):
            ours(dual, indices)
        with torch.no_grad(), pytest.raises(NotImplementedError, match=text):
            ours(dual, indices)
        torch.testing.assert_close(ours(table, indices), theirs(table, indices))


@pytest.mark.parametrize(
    "transform",
    [hessian, lambda f: lambda table: jvp(grad(f), (table,), (table,))],
    ids=["hessian", "jvp of grad"],
)
def test_forward_mode_over_reverse_is_refused(
    transform: Any, table: Tensor, indices: Tensor
) -> None:
    with pytest.raises(NotImplementedError, match="expected tensors without tangents"):
        transform(lambda w: ours(w, indices))(table)


@pytest.mark.parametrize(
    "transform",
    [
        lambda f, table, column: jacrev(f)(table, column),
        lambda f, table, column: jacrev(jacrev(lambda w: f(w, column).sum()))(table),
        lambda f, table, column: vmap(f, (0, None))(torch.stack([table, -table]), column),
        lambda f, table, column: vmap(f, (None, 1))(table, torch.stack([column, 5 - column], 1)),
        lambda f, table, column: vmap(jacrev(f), (None, 0))(table, column[None]),
    ],
    ids=["jacobian", "hessian", "many tables", "many indices", "many jacobians"],
)
def test_transforms_over_separate_tables(transform: Any, table: Tensor, indices: Tensor) -> None:
    other = torch.randn(6, 3, dtype=torch.float64, device=table.device)

    def ours(table: Tensor, column: Tensor) -> Tensor:
        return embed_ops.multi_embedding(torch.stack([column, column], 1), [other, table]).sin()

    def theirs(table: Tensor, column: Tensor) -> Tensor:
        return torch.cat([F.embedding(column, other), F.embedding(column, table)], 1).sin()

    column = indices[0]
    torch.testing.assert_close(transform(ours, table, column), transform(theirs, table, column))


def test_vmap_over_nothing_and_separate_tables(table: Tensor, indices: Tensor) -> None:
    with pytest.raises(RuntimeError, match="expected at least 1 element, got 0"):
        vmap(lambda index: embed_ops.multi_embedding(index, [table]))(indices[:0, :1, None])
