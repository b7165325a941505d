"""Autograd formulas of the ops, registered so that a call costs little.

A small lookup is bound by the host. ``torch.library.register_autograd`` would add several times the
kernel's own time to each call of an op, and again to each call of the op that its gradient is; what
is here does the same in fewer steps.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._functorch.utils import enable_single_level_autograd_function
from torch.autograd import forward_ad
from torch.compiler import is_compiling
from torch.overrides import has_torch_function

Gradients = tuple[Any, ...]

# A context in which a call of an op goes past autograd, to the kernel of the device.
below_autograd = torch._C._AutoDispatchBelowAutograd
in_transform = torch._C._are_functorch_transforms_active
_is_wrapper = torch._C._functorch.is_functorch_wrapped_tensor
_TENSORS = ("Tensor", "Optional[Tensor]")
_library = torch.library.Library("embed_ops", "IMPL")


def register_autograd(
    name: str,
    differentiable: Sequence[str],
    backward: Callable[..., Gradients],
    save: Callable[[Any, tuple[Any, ...], Any], None],
) -> Callable[..., Any]:
    """Registers an op's autograd formula. torch.func's transforms can use it too.

    Args:
        name: of the op.
        differentiable: the names of the arguments that have a gradient; a list of tensors comes
            last. ``ctx.needs_input_grad`` begins with one entry for each of them, or for each
            tensor of the list.
        backward: (ctx, gradient of each output tensor) -> a gradient for each of these entries.
        save: (ctx, arguments, output) keeps in ctx what backward needs. The arguments are all of
            the op's, those left to their defaults included.

    Returns:
        The op, for eager code: it computes what ``torch.ops.embed_ops.<name>`` computes and records
        it as that does, but goes there without the dispatcher where nobody on that way would see
        the call (:func:`eager_call`).
    """
    op = getattr(torch.ops.embed_ops, name).default
    run = op._op  # op itself is but a Python function around it
    schema = op._schema.arguments
    defaults = tuple(argument.default_value for argument in schema)
    forward, backward_of_inputs = _formula(run, backward, save)
    inputs_of = _inputs_of(op, differentiable)

    def forward_in_transform(ctx: Any, *inputs: Any) -> Any:
        # An autograd.Function turns gradients and tangents off, which transforms further out must
        # not notice.
        with torch.enable_grad(), forward_ad._set_fwd_grad_enabled(True):
            return forward(ctx, *inputs)

    record = autograd_function(name, forward, backward_of_inputs)
    record_in_transform = autograd_function(name, forward_in_transform, backward_of_inputs)

    def kernel(*args: Any) -> Any:
        if forward_ad._current_level >= 0:
            _refuse_tangents(name, args)
        if not (torch.is_grad_enabled() and torch._C._any_requires_grad(*args)):
            with below_autograd():
                return run(*args)
        # The dispatcher leaves out trailing arguments that equal their defaults.
        args += defaults[len(args) :]
        if in_transform():
            with enable_single_level_autograd_function():
                return record_in_transform(*inputs_of(args))
        return record(*inputs_of(args))

    _library.impl(name, kernel, "Autograd")
    if any(str(each.type) == "List[Tensor]" for each in (*schema, *op._schema.returns)):
        torch.library.register_vmap(op, functools.partial(_one_by_one, op))
    return eager_call(name, differentiable, backward, save, op)


def eager_call(
    name: str,
    differentiable: Sequence[str],
    backward: Callable[..., Gradients],
    save: Callable[[Any, tuple[Any, ...], Any], None],
    otherwise: Callable[..., Any],
) -> Callable[..., Any]:
    """An op that goes to its kernel without the dispatcher, recorded with this formula.

    Args:
        name, differentiable, backward, save: as of :func:`register_autograd`.
        otherwise: called instead where somebody on the way through the dispatcher (a compiler, a
            transform, a tensor subclass, a tracer) would see the call.
    """
    op = getattr(torch.ops.embed_ops, name).default
    run = op._op
    schema = op._schema.arguments
    last = _positions(op, differentiable)[-1]
    has_list = _is_list(schema[last])
    tensors = [at for at, argument in enumerate(schema) if str(argument.type) in _TENSORS]
    record = autograd_function(name, *_formula(run, backward, save))
    inputs_of = _inputs_of(op, differentiable)

    def call(*args: Any) -> Any:
        if (
            is_compiling()
            or in_transform()
            or forward_ad._current_level >= 0
            or torch._C._get_tracing_state() is not None
        ):
            return otherwise(*args)
        # What handles the call instead may compute with tensors that need a gradient.
        if has_torch_function((*args, *args[last]) if has_list else args):
            return otherwise(*args)
        # What a transform that has ended left behind: the dispatcher takes the tensor out of it.
        given = [args[at] for at in tensors if at < len(args) and args[at] is not None]
        if any(map(_is_wrapper, given + args[last] if has_list else given)):
            return otherwise(*args)
        if not (torch.is_grad_enabled() and torch._C._any_requires_grad(*args)):
            with below_autograd():
                return run(*args)
        return record(*inputs_of(args))

    return call


def _formula(
    run: Callable[..., Any],
    backward: Callable[..., Gradients],
    save: Callable[[Any, tuple[Any, ...], Any], None],
) -> tuple[Callable[..., Any], Callable[..., Gradients]]:
    """Forward and backward of an autograd.Function that takes what :func:`_inputs_of` gives."""

    def forward(ctx: Any, *inputs: Any) -> Any:
        args = inputs[-1]
        with below_autograd():
            output = run(*args)
        save(ctx, args, output)
        return tuple(output) if isinstance(output, list) else output

    def backward_of_inputs(ctx: Any, *gradients: Any) -> Gradients:
        return *backward(ctx, *gradients), None

    return forward, backward_of_inputs


def _inputs_of(op: Any, differentiable: Sequence[str]) -> Callable[[tuple[Any, ...]], list[Any]]:
    positions = _positions(op, differentiable)
    has_list = _is_list(op._schema.arguments[positions[-1]])

    def inputs_of(args: tuple[Any, ...]) -> list[Any]:
        """What has a gradient, and then all arguments in one: apply takes longest over those that
        are not tensors."""
        inputs = [args[position] for position in positions]
        if has_list:
            inputs += inputs.pop()
        inputs.append(args)
        return inputs

    return inputs_of


def _positions(op: Any, names: Sequence[str]) -> list[int]:
    return [[argument.name for argument in op._schema.arguments].index(each) for each in names]


def _is_list(argument: Any) -> bool:
    return str(argument.type) == "List[Tensor]"


def autograd_function(
    name: str, forward: Callable[..., Any], backward: Callable[..., Gradients]
) -> Callable[..., Any]:
    """The apply of a new autograd.Function, without what it does first for calls from anywhere:
    callers see to transforms of torch.func, and to what those that have ended left behind."""
    members = {
        "forward": staticmethod(forward),
        "backward": staticmethod(backward),
        # What the base class lacks of what compiled autograd asks for.
        "_compiled_autograd_key": staticmethod(torch.autograd.Function._compiled_autograd_key),
    }
    function = type(name, (torch.autograd.function._SingleLevelFunction,), members)
    return function.apply  # type: ignore[attr-defined]


def _one_by_one(op: Any, info: Any, in_dims: tuple[Any, ...], *args: Any) -> tuple[Any, Any]:
    """The rule of vmap for an op with lists of tensors: what torch's own fallback, which does not
    take them, does for the others."""

    def element(arg: Any, dim: Any, number: int) -> Any:
        if isinstance(arg, list) and isinstance(dim, list):
            return [element(*each, number) for each in zip(arg, dim, strict=True)]
        return arg if dim is None else arg.select(dim, number)

    if info.batch_size == 0:
        raise RuntimeError(f"{op}: vmap: expected at least 1 element, got 0")
    results = [
        op(*(element(arg, dim, number) for arg, dim in zip(args, in_dims, strict=True)))
        for number in range(info.batch_size)
    ]
    if isinstance(results[0], list):
        columns = [torch.stack(column) for column in zip(*results, strict=True)]
        return columns, [0] * len(columns)
    return torch.stack(results), 0


def _refuse_tangents(name: str, args: tuple[Any, ...]) -> None:
    tensors = [each for arg in args for each in (arg if isinstance(arg, list) else [arg])]
    for tensor in tensors:
        if isinstance(tensor, Tensor) and forward_ad.unpack_dual(tensor).tangent is not None:
            raise NotImplementedError(
                f"embed_ops::{name}: expected tensors without tangents, got one: the ops have no "
                "forward-mode derivative"
            )
