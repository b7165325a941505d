"""Calls of the ops with the arguments of a sample, their gradients, and calls in a new process."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

Arguments = dict[str, Any]

DIFFERENTIABLE = ("weight", "weights", "per_sample_weights", "grad_output")


def overload(op: str) -> Any:
    return getattr(torch.ops.embed_ops, op).default


def positional(op: str, arguments: Arguments) -> list[Any]:
    """``arguments`` in the schema's order, with defaults up to the last one that is given."""
    values = []
    missing = set(arguments)
    for argument in overload(op)._schema.arguments:
        if not missing:
            break
        values.append(arguments.get(argument.name, argument.default_value))
        missing.discard(argument.name)
    assert not missing, f"{op} has no arguments {missing}"
    return values


def call(op: str, arguments: Arguments) -> Any:
    return overload(op)(*positional(op, arguments))


def raised(op: str, arguments: Arguments) -> Exception:
    """What a call that must fail raises."""
    with pytest.raises(Exception) as caught:
        call(op, arguments)
    return caught.value


def map_tensors(function: Callable[[Tensor], Tensor], arguments: Arguments) -> Arguments:
    """A copy with every tensor, also those in lists, replaced."""

    def replace(value: Any) -> Any:
        if isinstance(value, Tensor):
            return function(value)
        if isinstance(value, list):
            return [replace(item) for item in value]
        return value

    return {name: replace(value) for name, value in arguments.items()}


def tensors(arguments: Arguments) -> list[Tensor]:
    """All of them, also those in lists."""
    found: list[Tensor] = []

    def note(tensor: Tensor) -> Tensor:
        found.append(tensor)
        return tensor

    map_tensors(note, arguments)
    return found


def copies(arguments: Arguments) -> list[Tensor]:
    """Of the tensors, as they are now."""
    return [tensor.clone() for tensor in tensors(arguments)]


def requiring_grad(arguments: Arguments) -> Arguments:
    """Copies whose floats are leaves that require grad."""

    def leaf(tensor: Tensor) -> Tensor:
        return tensor.detach().clone().requires_grad_(tensor.is_floating_point())

    return map_tensors(leaf, arguments)


def leaves(arguments: Arguments) -> list[Tensor]:
    """The tensors that require grad, in a fixed order."""
    found: list[Tensor] = []
    for name in DIFFERENTIABLE:
        value = arguments.get(name)
        for tensor in value if isinstance(value, list) else [value]:
            if isinstance(tensor, Tensor) and tensor.requires_grad:
                found.append(tensor)
    return found


def outputs(result: Any) -> list[Tensor]:
    """All of them, also those in lists."""
    if isinstance(result, Tensor):
        return [result]
    return [tensor for part in result for tensor in outputs(part)]


def floats(result: Any) -> list[Tensor]:
    """The outputs that can carry a gradient."""
    return [tensor for tensor in outputs(result) if tensor.is_floating_point()]


def as_function_of_leaves(
    op: str, arguments: Arguments
) -> tuple[Callable[..., tuple[Tensor, ...]], list[Tensor]]:
    """The op as a function of its differentiable tensors alone, and these tensors, as leaves."""
    arguments = requiring_grad(arguments)
    inputs = leaves(arguments)

    def function(*tensors: Tensor) -> tuple[Tensor, ...]:
        replacement = {id(old): new for old, new in zip(inputs, tensors, strict=True)}
        given = map_tensors(lambda tensor: replacement.get(id(tensor), tensor), arguments)
        return tuple(floats(call(op, given)))

    return function, inputs


def gradients_by_name(arguments: Arguments, gradients: list[Tensor]) -> dict[str, Any]:
    """``gradients``, in the order of :func:`leaves`, under the names of the arguments."""
    rest = iter(gradients)
    named: dict[str, Any] = {}
    for name in DIFFERENTIABLE:
        value = arguments.get(name)
        if isinstance(value, list) and value[0].requires_grad:
            named[name] = [next(rest) for _ in value]
        elif isinstance(value, Tensor) and value.requires_grad:
            named[name] = next(rest)
    return named


def run_in_new_process(program: str) -> subprocess.CompletedProcess[str]:
    """For what must start afresh or ends badly; it imports what this process can import."""
    return subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
