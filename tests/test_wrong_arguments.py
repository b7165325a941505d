"""Wrong arguments: a ValueError with the same text from CPU, CUDA and fake kernels."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from calls import Arguments, map_tensors, raised
from right_arguments import RIGHT, right
from samples import SAMPLES, Draw
from torch import Tensor
from torch._subclasses import FakeTensorMode
from wrong_arguments import WRONG, Wrong

import embed_ops


def spoiled(wrong: Wrong, device: str) -> Arguments:
    arguments = wrong.right(Draw(wrong.op, device, torch.float32))
    return arguments | {wrong.argument: wrong.change(arguments.get(wrong.argument))}


def check_wrong(wrong: Wrong, error: Exception) -> None:
    assert type(error) is ValueError
    assert str(error) == f"embed_ops::{wrong.op}: {wrong.text}"


WRONG_IDS = [f"{wrong.op}-{wrong.argument}-{number}" for number, wrong in enumerate(WRONG)]


@pytest.mark.parametrize("wrong", WRONG, ids=WRONG_IDS)
def test_wrong_arguments(wrong: Wrong, device: str) -> None:
    check_wrong(wrong, raised(wrong.op, spoiled(wrong, device)))


@pytest.mark.parametrize("wrong", WRONG, ids=WRONG_IDS)
def test_wrong_arguments_to_the_fake_kernel(wrong: Wrong) -> None:
    arguments = spoiled(wrong, "cpu")
    with FakeTensorMode() as mode:
        fakes = map_tensors(mode.from_tensor, arguments)
        check_wrong(wrong, raised(wrong.op, fakes))
    meta = map_tensors(lambda tensor: tensor.to("meta"), arguments)
    check_wrong(wrong, raised(wrong.op, meta))


def test_the_tables_of_this_file_have_every_op() -> None:
    assert {wrong.op for wrong in WRONG} == set(RIGHT) == set(SAMPLES)


DATA = ("indices", "offsets", "row_ids", "per_sample_weights", "grad_output", "weights")


def main_argument(arguments: Arguments) -> str:
    """Whose device and dtype the others must have."""
    if "weights" in arguments:
        return "weights[0]"
    for name in ("weight", "grad_output", "indices", "offsets", "row_ids"):
        if name in arguments:
            return name
    raise AssertionError(f"none of {list(arguments)}")


def moved(arguments: Arguments, name: str, device: str) -> Arguments:
    """One argument (of a list, the second tensor) on another device, with other values."""
    old = arguments[name]
    if isinstance(old, list):
        return arguments | {name: [old[0], torch.zeros_like(old[1], device=device)]}
    return arguments | {name: torch.zeros_like(old, device=device)}


WRONG_DEVICE = [
    (op, name)
    for op in RIGHT
    for name in DATA
    if name in right(op, "cpu") and name != main_argument(right(op, "cpu"))
]


@pytest.mark.parametrize("op, name", WRONG_DEVICE)
def test_wrong_device_to_the_fake_kernel(op: str, name: str) -> None:
    arguments = right(op, "cpu")
    with FakeTensorMode() as mode:
        arguments = map_tensors(mode.from_tensor, arguments)
        error = raised(op, moved(arguments, name, "cuda"))
    like = main_argument(arguments)
    assert type(error) is ValueError
    assert str(error) == f"embed_ops::{op}: {name}: expected device cpu (as {like}), got cuda:0"


@pytest.mark.gpu
@pytest.mark.parametrize("op, name", WRONG_DEVICE)
def test_wrong_device(op: str, name: str) -> None:
    for here, there in [("cpu", "cuda:0"), ("cuda:0", "cpu")]:
        arguments = right(op, here)
        error = raised(op, moved(arguments, name, there))
        like = main_argument(arguments)
        assert type(error) is ValueError
        assert str(error) == (
            f"embed_ops::{op}: {name}: expected device {here} (as {like}), got {there}"
        )


@pytest.mark.parametrize("dynamic", [False, True], ids=["static", "dynamic"])
def test_the_compiler_shows_the_text(dynamic: bool, fresh_compiler: None) -> None:
    compiled = torch.compile(
        torch.ops.embed_ops.embedding, backend="aot_eager", fullgraph=True, dynamic=dynamic
    )
    with pytest.raises(
        Exception, match=r"embed_ops::embedding: padding_idx: expected -1 or a value"
    ):
        compiled(torch.zeros(10, 4), torch.zeros(3, dtype=torch.int64), 10)


# --------------------------------------------------------------------------------------------------
# What only the public functions refuse


def jagged(*lengths: int, of: torch.dtype = torch.int64) -> Tensor:
    rows = [torch.zeros(length, dtype=of) for length in lengths]
    return torch.nested.nested_tensor(rows, layout=torch.jagged)


TABLE, SOME = torch.zeros(10, 4), torch.tensor([1, 2])


FUNCTIONAL: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "embedding padding": (
        lambda: embed_ops.embedding(SOME, TABLE, padding_idx=-11),
        ValueError,
        "embed_ops::embedding: padding_idx: expected a value in [-10, 10), got -11",
    ),
    "embedding_bag jagged with offsets": (
        lambda: embed_ops.embedding_bag(jagged(2, 1), TABLE, SOME),
        ValueError,
        "embed_ops::embedding_bag: offsets: expected None with a jagged input, got a tensor",
    ),
    "embedding_bag jagged with dense weights": (
        lambda: embed_ops.embedding_bag(
            jagged(2, 1), TABLE, mode="sum", per_sample_weights=torch.ones(3)
        ),
        ValueError,
        "embed_ops::embedding_bag: per_sample_weights: expected a jagged tensor (as input), "
        "got a dense tensor",
    ),
    "multi_embedding sizes": (
        lambda: embed_ops.multi_embedding(SOME[None], torch.zeros(6)),
        ValueError,
        "embed_ops::multi_embedding: num_embeddings and embedding_dims: "
        "expected values with a single weight, got None",
    ),
}


@pytest.mark.parametrize("name", FUNCTIONAL)
def test_public_functions(name: str) -> None:
    function, kind, text = FUNCTIONAL[name]
    with pytest.raises(Exception) as caught:
        function()
    assert type(caught.value) is kind
    assert str(caught.value) == text


@pytest.mark.parametrize(
    "sizes", [([2**62 + 1], [4]), ([2**63 - 1, 1], [1, 1]), ([0], [2**63 - 1])]
)
@pytest.mark.parametrize("where", ["cpu", "meta"])
def test_tables_beyond_64_bits(sizes: tuple[list[int], list[int]], where: str) -> None:
    rows, widths = sizes
    fits = max(1, *rows) * sum(widths) < 2**63
    expected = "weight" if fits else "num_embeddings: expected tables of fewer than 2^63 elements"
    indices = torch.zeros(1, len(rows), dtype=torch.int64, device=where)
    with pytest.raises(ValueError, match=re.escape(f"embed_ops::multi_embedding: {expected}")):
        torch.ops.embed_ops.multi_embedding(torch.zeros(4, device=where), indices, rows, widths)
