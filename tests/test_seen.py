"""The public functions go to the kernels directly only where nobody would see the difference."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._dynamo import compiled_autograd
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

import embed_ops

ops = torch.ops.embed_ops


class Functions(TorchFunctionMode):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Any] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.seen.append(func)
        return func(*args, **(kwargs or {}))


class Dispatches(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Any] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.seen.append(func)
        return func(*args, **(kwargs or {}))


class Overriding(Tensor):
    """Sees every function that it is given to."""

    seen: list[Any] = []  # noqa: RUF012

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        cls.seen.append(func)
        return super().__torch_function__(func, types, args, kwargs or {})


@pytest.fixture
def weight(device: str) -> Tensor:
    return torch.randn(6, 4, device=device, requires_grad=True)


@pytest.fixture
def indices(device: str) -> Tensor:
    return torch.tensor([[1, 2], [5, 5]], device=device)


def total(weight: Tensor, indices: Tensor) -> Tensor:
    """Of all the public functions."""
    return (
        embed_ops.embedding(indices, weight).sin().sum()
        + embed_ops.embedding_bag(indices, weight, mode="max").cos().sum()
        + embed_ops.multi_embedding(indices, [weight, weight]).exp().sum()
        + embed_ops.multi_embedding(indices, weight, [6, 6], [1, 3]).square().sum()
    )


FORWARD = [
    ops.embedding.default,
    ops.embedding_bag.default,
    ops.multi_embedding_list.default,
    ops.multi_embedding.default,
]


@pytest.mark.parametrize("guard", [contextlib.nullcontext, torch.no_grad])
def test_function_modes(guard: Any, weight: Tensor, indices: Tensor) -> None:
    with Functions() as mode, guard():
        total(weight, indices)
    assert [func for func in mode.seen if func in FORWARD] == FORWARD


@pytest.mark.parametrize("guard", [contextlib.nullcontext, torch.no_grad])
def test_dispatch_modes(guard: Any, weight: Tensor, indices: Tensor) -> None:
    with Dispatches() as mode, guard():
        total(weight, indices)
    assert [func for func in mode.seen if func in FORWARD] == FORWARD


def test_backward_under_a_dispatch_mode(weight: Tensor, indices: Tensor) -> None:
    loss = embed_ops.embedding(indices, weight).sum()
    with Dispatches() as mode:
        loss.backward()
    assert ops.embedding_dense_backward.default in mode.seen


@pytest.mark.parametrize("where", ["weight", "indices"])
def test_subclasses_that_override_functions(where: str, weight: Tensor, indices: Tensor) -> None:
    Overriding.seen.clear()
    if where == "weight":
        total(weight.detach().as_subclass(Overriding).requires_grad_(), indices)
    else:
        total(weight, indices.as_subclass(Overriding))
    assert [func for func in Overriding.seen if func in FORWARD] == FORWARD


class Scaled(TorchFunctionMode):
    """Multiplies tables, which need no gradient, by a scale that does."""

    def __init__(self, scale: Tensor) -> None:
        super().__init__()
        self.scale = scale

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in FORWARD:
            args = [self._scaled(argument) for argument in args]
        return func(*args, **(kwargs or {}))

    def _scaled(self, argument: Any) -> Any:
        if isinstance(argument, list):
            return [self._scaled(each) for each in argument]
        is_table = isinstance(argument, Tensor) and argument.is_floating_point()
        return argument * self.scale if is_table else argument


def test_what_overrides_a_lookup_has_gradients_of_its_own(weight: Tensor, indices: Tensor) -> None:
    scale = torch.ones((), device=weight.device, requires_grad=True)
    with Scaled(scale):
        loss = total(weight.detach(), indices)
    (gradient,) = torch.autograd.grad(loss, scale)
    (expected,) = torch.autograd.grad(total(weight, indices), weight)
    torch.testing.assert_close(gradient, (expected * weight).sum())


def test_fake_tensors(weight: Tensor, indices: Tensor) -> None:
    with FakeTensorMode() as mode:
        loss = total(mode.from_tensor(weight), mode.from_tensor(indices))
    assert isinstance(loss, FakeTensor)
    assert loss.requires_grad


def test_make_fx(weight: Tensor, indices: Tensor) -> None:
    def gradient(weight: Tensor) -> Tensor:
        return torch.autograd.grad(total(weight, indices), weight)[0]

    traced = make_fx(gradient)(weight)
    called = {node.target for node in traced.graph.nodes}
    assert {*FORWARD, ops.embedding_dense_backward.default} <= called
    torch.testing.assert_close(traced(weight), gradient(weight))


def test_compiled_autograd(weight: Tensor, indices: Tensor) -> None:
    (expected,) = torch.autograd.grad(total(weight, indices), weight)
    with compiled_autograd._enable(torch.compile(backend="aot_eager", fullgraph=True)):
        total(weight, indices).backward()
    torch.testing.assert_close(weight.grad, expected)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
def test_jit_trace(weight: Tensor, indices: Tensor) -> None:
    traced = torch.jit.trace(lambda w, i: embed_ops.embedding(i, w).sin(), (weight, indices))
    assert "embed_ops::embedding(" in str(traced.graph)


def test_saved_tensors_hooks(weight: Tensor, indices: Tensor) -> None:
    packed: list[Tensor] = []

    def pack(tensor: Tensor) -> Tensor:
        packed.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = embed_ops.embedding(indices, weight)
    assert [tensor.data_ptr() for tensor in packed] == [indices.data_ptr()]
    output.sum().backward()


def test_indices_changed_before_backward(weight: Tensor, indices: Tensor) -> None:
    output = embed_ops.embedding(indices, weight)
    indices.zero_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        output.sum().backward()


def test_below_autograd(weight: Tensor, indices: Tensor) -> None:
    with torch._C._AutoDispatchBelowAutograd():
        assert not ops.embedding(weight, indices).requires_grad
