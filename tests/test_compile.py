"""torch.compile(fullgraph=True), forward and backward, with static and with dynamic shapes.

The whole table runs through AOTAutograd (backend "aot_eager"), where everything happens that an op
has to do for the compiler; Inductor, which takes seconds a graph, gets a selection.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from asserts import assert_gradients, assert_is_reference
from calls import (
    Arguments,
    floats,
    gradients_by_name,
    leaves,
    overload,
    positional,
    requiring_grad,
)
from samples import (
    ALL_SAMPLES,
    FORWARD_SAMPLES,
    Draw,
    Recipe,
    Sample,
    as_list,
    csr,
    fixed,
    lookup,
    tables,
)
from torch import Tensor

pytestmark = pytest.mark.usefixtures("fresh_compiler")


def is_data(value: Any) -> bool:
    return isinstance(value, Tensor) or (isinstance(value, list) and isinstance(value[0], Tensor))


def as_function_of_tensors(op: str, arguments: Arguments) -> tuple[Callable[..., Any], list[Any]]:
    """The op as a model calls it: tensors come in, everything else is a constant."""
    values = positional(op, arguments)
    places = [place for place, value in enumerate(values) if is_data(value)]
    function = overload(op)

    def model(*data: Any) -> Any:
        given = list(values)
        for place, value in zip(places, data, strict=True):
            given[place] = value
        return function(*given)

    return model, [values[place] for place in places]


def check(op: str, arguments: Arguments, result: Any) -> None:
    assert_is_reference(op, arguments, result)
    (output,) = floats(result)
    grad_output = torch.randn_like(output)
    gradients = torch.autograd.grad(output, leaves(arguments), grad_output)
    assert_gradients(op, arguments, grad_output, gradients_by_name(arguments, list(gradients)))


@pytest.mark.parametrize("dynamic", [False, True], ids=["static", "dynamic"])
@pytest.mark.parametrize("sample", FORWARD_SAMPLES, ids=str)
def test_compile(sample: Sample, dynamic: bool, device: str) -> None:
    arguments = requiring_grad(sample.arguments(device, torch.float32))
    model, data = as_function_of_tensors(sample.op, arguments)
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True, dynamic=dynamic)
    check(sample.op, arguments, compiled(*data))


INDUCTOR_SAMPLES = [
    ("embedding", "three dimensions"),
    ("embedding_bag", "csr weighted mean"),
    ("embedding_bag", "fixed max"),
    ("multi_embedding", "padded"),
    ("multi_embedding_list", "pooled weighted mean"),
]


@pytest.mark.parametrize("dynamic", [False, True], ids=["static", "dynamic"])
@pytest.mark.parametrize(
    "sample", [s for s in ALL_SAMPLES if (s.op, s.name) in INDUCTOR_SAMPLES], ids=str
)
def test_inductor(sample: Sample, dynamic: bool, device: str) -> None:
    arguments = requiring_grad(sample.arguments(device, torch.float32))
    model, data = as_function_of_tensors(sample.op, arguments)
    compiled = torch.compile(model, fullgraph=True, dynamic=dynamic)
    check(sample.op, arguments, compiled(*data))


def test_inductor_with_work_around_the_op(device: str) -> None:
    def model(weight: Tensor, indices: Tensor, scale: Tensor) -> Tensor:
        rows = torch.ops.embed_ops.embedding(weight * 2, indices)
        bags, _ = torch.ops.embed_ops.embedding_bag(weight, indices, mode="max")
        return (rows.sum(1) * scale + bags.sigmoid()).square().mean()

    weight = torch.randn(20, 8, device=device, requires_grad=True)
    scale = torch.randn(8, device=device, requires_grad=True)
    indices = torch.randint(20, (6, 3), device=device)
    expected = model(weight, indices, scale)
    actual = torch.compile(model, fullgraph=True)(weight, indices, scale)
    torch.testing.assert_close(actual, expected)
    torch.testing.assert_close(
        torch.autograd.grad(actual, (weight, scale)), torch.autograd.grad(expected, (weight, scale))
    )


# One op each, with sizes that differ in whatever the op leaves to the call.
SIZES: dict[str, tuple[str, list[Recipe]]] = {
    "embedding": (
        "embedding",
        [
            lookup(rows, width, count, padding_idx=2, scale_grad_by_freq=True)
            for rows, width, count in [(10, 8, 7), (23, 5, 12), (4, 33, 90)]
        ],
    ),
    **{
        f"fixed {mode}": (
            "embedding_bag",
            [fixed(10, 8, 4, 3, mode=mode), fixed(23, 5, 9, 6, mode=mode)],
        )
        for mode in ("sum", "mean", "max")
    },
    **{
        f"csr {mode} {last}": (
            "embedding_bag",
            [
                csr(10, 6, (3, 0, 5), mode != "max", last, mode=mode, padding_idx=1),
                csr(23, 5, (2, 7, 0, 0, 4), mode != "max", last, mode=mode, padding_idx=1),
            ],
        )
        for mode, last in [("sum", False), ("mean", True), ("max", False)]
    },
    "multi_embedding": (
        "multi_embedding",
        [tables((10, 3), (4, 8), batch) for batch in (5, 2, 31)],
    ),
    "multi_embedding pooled": (
        "multi_embedding",
        [
            tables((10, 3), (4, 8), 2, (3, 0, 1, 2), weighted=True, mode="mean"),
            tables((10, 3), (4, 8), 3, (3, 0, 1, 2, 9, 4), weighted=True, mode="mean"),
        ],
    ),
    "multi_embedding_list": (
        "multi_embedding_list",
        [
            as_list(tables((10, 3), (4, 8), 5)),
            as_list(tables((23, 31), (4, 8), 9)),
        ],
    ),
}


@pytest.mark.parametrize("name", SIZES)
def test_one_graph_serves_every_size(name: str, device: str) -> None:
    op, recipes = SIZES[name]
    first = requiring_grad(recipes[0](Draw(name, device, torch.float32)))
    model, _ = as_function_of_tensors(op, first)
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True, dynamic=True)
    for number, recipe in enumerate(recipes):
        arguments = requiring_grad(recipe(Draw(f"{name} {number}", device, torch.float32)))
        _, data = as_function_of_tensors(op, arguments)
        with torch._dynamo.config.patch(error_on_recompile=number > 0):
            result = compiled(*data)
        check(op, arguments, result)
