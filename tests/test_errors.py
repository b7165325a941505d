"""Every error: its type and its whole text, the same from CPU, CUDA and fake kernels.

Three tables: wrong arguments (``WRONG``), wrong values in indices and in offsets (``BAD_INDICES``,
``BAD_OFFSETS``). Each entry takes arguments that are right and spoils one of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
import torch
from asserts import assert_is_reference, assert_same_bits
from calls import (
    Arguments,
    call,
    floats,
    leaves,
    map_tensors,
    requiring_grad,
    run_in_new_process,
    tensors,
)
from samples import (
    BACKWARD,
    COMPRESSED,
    DIFFERENTIABLE_SAMPLES,
    PURE_SAMPLES,
    SAMPLES,
    Draw,
    Recipe,
    Sample,
    as_list,
    coordinates,
    csr,
    derive,
    fixed,
    lookup,
    offsets_alone,
    row_ids_alone,
    tables,
)
from torch import Tensor
from torch._subclasses import FakeTensorMode

import embed_ops

# --------------------------------------------------------------------------------------------------
# Arguments that are right: 10 rows of 4; 6 lookups in 3 bags; tables of 5 x 4 and 3 x 2.


def of(op: str, forward: str, recipe: Recipe) -> Recipe:
    gradient = (BACKWARD | COMPRESSED)[op]
    derived = derive(op, gradient, Sample(forward, "right", recipe))
    assert derived is not None
    return derived.recipe


LOOKUP = lookup(10, 4, 6)
BAGS = csr(10, 4, (2, 3, 1), True)
FIXED = fixed(10, 4, 3, 2, True)
MAX = csr(10, 4, (2, 3, 1), mode="max")
TABLES = tables((5, 3), (4, 2), 3)
PADDED = tables((5, 3), (4, 2), 3, padded=True)
POOLED = tables((5, 3), (4, 2), 2, (1, 2, 0, 3), weighted=True)
LIST, LIST_POOLED = as_list(TABLES), as_list(POOLED)
RENORM = lookup(10, 4, 6, max_norm=1.0)

EMBEDDING_BACKWARD = of("embedding_dense_backward", "embedding", LOOKUP)
BAG_BACKWARD = of("embedding_bag_dense_backward", "embedding_bag", BAGS)
MAX_BACKWARD = of("embedding_bag_dense_backward", "embedding_bag", MAX)
BAG_WEIGHTS = of("embedding_bag_per_sample_weights_backward", "embedding_bag", BAGS)
TABLES_BACKWARD = of("multi_embedding_dense_backward", "multi_embedding", TABLES)
POOLED_BACKWARD = of("multi_embedding_dense_backward", "multi_embedding", POOLED)
POOLED_WEIGHTS = of("multi_embedding_per_sample_weights_backward", "multi_embedding", POOLED)
LIST_BACKWARD = of("multi_embedding_list_dense_backward", "multi_embedding_list", LIST)
LIST_POOLED_BACKWARD = of(
    "multi_embedding_list_dense_backward", "multi_embedding_list", LIST_POOLED
)
LIST_POOLED_WEIGHTS = of(
    "multi_embedding_list_per_sample_weights_backward", "multi_embedding_list", LIST_POOLED
)

# Of the dense gradient ops: those that take the same arguments and give compressed gradients.
COMPRESSED_OF = {
    f"{op}_dense_backward": [f"{op}_compressed_backward", f"{op}_compressed_backward_padded"]
    for op in ("embedding", "embedding_bag", "multi_embedding")
}
COORDINATES = coordinates(10, (2, 3, 1), True)
SORTED: Recipe = lambda d: {"indices": d.offsets((1, 2, 3, 1, 2), last=True)}  # noqa: E731

# For each op one call with as many of its arguments as go together.
RIGHT: dict[str, Recipe] = {
    "embedding": LOOKUP,
    "embedding_dense_backward": EMBEDDING_BACKWARD,
    "embedding_renorm_": RENORM,
    "embedding_bag": BAGS,
    "embedding_bag_dense_backward": BAG_BACKWARD,
    "embedding_bag_per_sample_weights_backward": BAG_WEIGHTS,
    "multi_embedding": POOLED,
    "multi_embedding_dense_backward": POOLED_BACKWARD,
    "multi_embedding_per_sample_weights_backward": POOLED_WEIGHTS,
    "multi_embedding_list": LIST_POOLED,
    "multi_embedding_list_dense_backward": LIST_POOLED_BACKWARD,
    "multi_embedding_list_per_sample_weights_backward": LIST_POOLED_WEIGHTS,
    **{
        compressed: of(compressed, forward, recipe)
        for forward, recipe in (
            ("embedding", LOOKUP),
            ("embedding_bag", BAGS),
            ("multi_embedding", POOLED),
        )
        for compressed in COMPRESSED_OF[f"{forward}_dense_backward"]
    },
    "row_ids_from_fixed": lambda d: {"indices": d.indices(10, 3, 2)},
    "row_ids_from_csr": offsets_alone((2, 3, 1)),
    "offsets_from_row_ids": row_ids_alone((2, 3, 1)),
    "transpose": COORDINATES,
    "compressed_indices": SORTED,
    "compressed_indices_padded": SORTED,
}


def right(op: str, device: str, **index_dtypes: torch.dtype) -> Arguments:
    return RIGHT[op](Draw(op, device, torch.float32, **index_dtypes))


# --------------------------------------------------------------------------------------------------
# Wrong arguments

Change = Callable[[Any], Any]


def to(dtype: torch.dtype) -> Change:
    return lambda tensor: tensor.to(dtype)


def shaped(*shape: int) -> Change:
    return lambda tensor: tensor.new_zeros(shape)


def value(new: Any) -> Change:
    return lambda _: new


class Wrong(NamedTuple):
    op: str
    right: Recipe
    argument: str
    """The one that ``change`` spoils."""
    change: Change
    text: str
    """Of the ValueError, behind ``embed_ops::{op}: ``."""


FLOATS = "expected dtype float32, float64, float16 or bfloat16"
INTEGERS = "expected dtype int32 or int64"


def wrong_table(op: str, recipe: Recipe, argument: str) -> list[Wrong]:
    return [
        Wrong(op, recipe, argument, to(torch.int64), f"{argument}: {FLOATS}, got int64"),
        Wrong(op, recipe, argument, to(torch.complex64), f"{argument}: {FLOATS}, got complex64"),
        Wrong(
            op, recipe, argument, shaped(40), f"{argument}: expected 2 dimensions, got shape (40,)"
        ),
    ]


def wrong_indices(op: str, recipe: Recipe) -> list[Wrong]:
    return [
        Wrong(op, recipe, "indices", to(torch.float32), f"indices: {INTEGERS}, got float32"),
        Wrong(op, recipe, "indices", to(torch.int16), f"indices: {INTEGERS}, got int16"),
        Wrong(op, recipe, "indices", to(torch.bool), f"indices: {INTEGERS}, got bool"),
    ]


def wrong_bags(op: str, recipe: Recipe, like: str) -> list[Wrong]:
    """Of 6 lookups in 1-D with offsets and weights."""
    return [
        *wrong_indices(op, recipe),
        Wrong(
            op,
            recipe,
            "indices",
            shaped(3, 2),
            "indices: expected 1 dimension with offsets, got shape (3, 2)",
        ),
        Wrong(op, recipe, "offsets", to(torch.float64), f"offsets: {INTEGERS}, got float64"),
        Wrong(
            op, recipe, "offsets", shaped(3, 1), "offsets: expected 1 dimension, got shape (3, 1)"
        ),
        Wrong(op, recipe, "offsets", shaped(), "offsets: expected 1 dimension, got shape ()"),
        Wrong(
            op,
            recipe,
            "per_sample_weights",
            to(torch.float64),
            f"per_sample_weights: expected dtype float32 (as {like}), got float64",
        ),
        Wrong(
            op,
            recipe,
            "per_sample_weights",
            shaped(5),
            "per_sample_weights: expected shape (6,), got shape (5,)",
        ),
        Wrong(
            op,
            recipe,
            "per_sample_weights",
            shaped(6, 1),
            "per_sample_weights: expected shape (6,), got shape (6, 1)",
        ),
    ]


def wrong_layout(op: str, recipe: Recipe) -> list[Wrong]:
    """Of what only embedding_bag and its gradients have."""
    return [
        Wrong(
            op,
            recipe,
            "offsets",
            value(None),
            "indices: expected 2 dimensions without offsets, got shape (6,)",
        ),
        Wrong(
            op,
            lambda d: recipe(d) | {"include_last_offset": True},
            "offsets",
            shaped(0),
            "offsets: expected at least 1 element with include_last_offset, got shape (0,)",
        ),
    ]


def wrong_padding(op: str, recipe: Recipe) -> list[Wrong]:
    text = "padding_idx: expected -1 or a value in [0, 10), got"
    return [
        Wrong(op, recipe, "padding_idx", value(padding), f"{text} {padding}")
        for padding in (10, -2)
    ]


def wrong_mode(op: str, recipe: Recipe, expected: str, *modes: str) -> list[Wrong]:
    return [
        Wrong(op, recipe, "mode", value(mode), f"mode: expected {expected}, got '{mode}'")
        for mode in modes
    ]


def wrong_tables(op: str, recipe: Recipe, like: str) -> list[Wrong]:
    """Of one lookup for each of two tables and three samples."""
    return [
        *wrong_indices(op, recipe),
        Wrong(
            op,
            recipe,
            "indices",
            shaped(3, 3),
            "indices: expected shape (batch, 2) without offsets, got shape (3, 3)",
        ),
        Wrong(
            op,
            recipe,
            "indices",
            shaped(6),
            "indices: expected shape (batch, 2) without offsets, got shape (6,)",
        ),
        Wrong(
            op,
            lambda d: recipe(d) | {"per_sample_weights": d.weights(3, 2)},
            "mode",
            value("sum"),
            "per_sample_weights: expected None without offsets, got a tensor",
        ),
        *wrong_mode(op, recipe, "'sum' or 'mean'", "max", "median"),
    ]


def wrong_pooled(op: str, recipe: Recipe, like: str) -> list[Wrong]:
    expected = "offsets: expected a multiple of 2 elements plus 1"
    return [
        *wrong_bags(op, recipe, like),
        Wrong(op, recipe, "offsets", shaped(4), f"{expected}, got shape (4,)"),
        Wrong(op, recipe, "offsets", shaped(0), f"{expected}, got shape (0,)"),
        *wrong_mode(op, recipe, "'sum' or 'mean'", "max"),
    ]


def wrong_sizes(op: str, recipe: Recipe) -> list[Wrong]:
    return [
        Wrong(
            op,
            recipe,
            "num_embeddings",
            value([]),
            "num_embeddings: expected at least 1 value, got 0 values",
        ),
        Wrong(
            op,
            recipe,
            "embedding_dims",
            value([6]),
            "embedding_dims: expected 2 values (as num_embeddings), got 1 values",
        ),
        Wrong(
            op,
            recipe,
            "num_embeddings",
            value([5, -1]),
            "num_embeddings: expected values of at least 0, got -1",
        ),
        Wrong(
            op,
            recipe,
            "embedding_dims",
            value([6, 0]),
            "embedding_dims: expected values of at least 1, got 0",
        ),
    ]


def wrong_storage(op: str, recipe: Recipe) -> list[Wrong]:
    return [
        Wrong(op, recipe, "weight", to(torch.int32), f"weight: {FLOATS}, got int32"),
        Wrong(op, recipe, "weight", shaped(25), "weight: expected shape (26,), got shape (25,)"),
        Wrong(
            op, recipe, "weight", shaped(4, 6), "weight: expected shape (5, 6), got shape (4, 6)"
        ),
        Wrong(
            op, recipe, "weight", shaped(5, 7), "weight: expected shape (5, 6), got shape (5, 7)"
        ),
        Wrong(
            op,
            recipe,
            "weight",
            shaped(1, 5, 6),
            "weight: expected 1 (packed) or 2 (padded) dimensions, got shape (1, 5, 6)",
        ),
    ]


def wrong_weights(op: str, recipe: Recipe) -> list[Wrong]:
    def second(change: Change) -> Change:
        return lambda weights: [weights[0], change(weights[1])]

    return [
        Wrong(op, recipe, "weights", second(to(torch.bool)), f"weights: {FLOATS}, got bool"),
        Wrong(
            op,
            recipe,
            "weights",
            second(shaped(6)),
            "weights: expected 2 dimensions, got shape (6,)",
        ),
        Wrong(
            op,
            recipe,
            "weights",
            second(to(torch.float16)),
            "weights: expected dtype float32 (as weights[0]), got float16",
        ),
        Wrong(
            op,
            recipe,
            "weights",
            second(shaped(3, 0)),
            "weights: expected a width of at least 1, got shape (3, 0)",
        ),
    ]


def wrong_grad(op: str, recipe: Recipe, shape: tuple[int, int], like: str) -> list[Wrong]:
    """Of gradient ops that also take a table."""
    return [
        Wrong(
            op,
            recipe,
            "grad_output",
            to(torch.bfloat16),
            f"grad_output: expected dtype float32 (as {like}), got bfloat16",
        ),
        Wrong(
            op,
            recipe,
            "grad_output",
            shaped(7, 7),
            f"grad_output: expected shape {shape}, got shape (7, 7)",
        ),
    ]


WRONG = [
    *wrong_table("embedding", LOOKUP, "weight"),
    *wrong_indices("embedding", LOOKUP),
    *wrong_padding("embedding", LOOKUP),
    #
    Wrong(
        "embedding_dense_backward",
        EMBEDDING_BACKWARD,
        "grad_output",
        to(torch.int64),
        f"grad_output: {FLOATS}, got int64",
    ),
    Wrong(
        "embedding_dense_backward",
        EMBEDDING_BACKWARD,
        "grad_output",
        shaped(24),
        "grad_output: expected 2 dimensions, got shape (24,)",
    ),
    Wrong(
        "embedding_dense_backward",
        EMBEDDING_BACKWARD,
        "grad_output",
        shaped(5, 4),
        "grad_output: expected shape (6, 4), got shape (5, 4)",
    ),
    Wrong(
        "embedding_dense_backward",
        EMBEDDING_BACKWARD,
        "num_weights",
        value(-3),
        "num_weights: expected a value of at least 0, got -3",
    ),
    *wrong_indices("embedding_dense_backward", EMBEDDING_BACKWARD),
    *wrong_padding("embedding_dense_backward", EMBEDDING_BACKWARD),
    #
    *wrong_table("embedding_renorm_", RENORM, "weight"),
    *wrong_indices("embedding_renorm_", RENORM),
    Wrong(
        "embedding_renorm_",
        RENORM,
        "weight",
        lambda weight: weight.t().contiguous().t(),
        "weight: expected rows of adjacent elements, got stride 10 between columns",
    ),
    Wrong(
        "embedding_renorm_",
        RENORM,
        "max_norm",
        value(-0.5),
        "max_norm: expected a value of at least 0, got -0.5",
    ),
    Wrong(
        "embedding_renorm_",
        RENORM,
        "max_norm",
        value(float("nan")),
        "max_norm: expected a value of at least 0, got nan",
    ),
    Wrong(
        "embedding_renorm_",
        RENORM,
        "norm_type",
        value(0.0),
        "norm_type: expected a value above 0, got 0",
    ),
    #
    *wrong_table("embedding_bag", BAGS, "weight"),
    *wrong_bags("embedding_bag", BAGS, "weight"),
    *wrong_layout("embedding_bag", BAGS),
    *wrong_padding("embedding_bag", BAGS),
    *wrong_mode("embedding_bag", BAGS, "'sum', 'mean' or 'max'", "median", "", "MEAN"),
    Wrong(
        "embedding_bag",
        FIXED,
        "per_sample_weights",
        shaped(6),
        "per_sample_weights: expected shape (3, 2), got shape (6,)",
    ),
    Wrong(
        "embedding_bag",
        FIXED,
        "include_last_offset",
        value(True),
        "include_last_offset: expected False without offsets, got True",
    ),
    Wrong(
        "embedding_bag",
        BAGS,
        "mode",
        value("max"),
        "per_sample_weights: expected None with mode 'max', got a tensor",
    ),
    Wrong(
        "embedding_bag",
        MAX,
        "scale_grad_by_freq",
        value(True),
        "scale_grad_by_freq: expected False with mode 'max', got True",
    ),
    #
    *wrong_table("embedding_bag_dense_backward", BAG_BACKWARD, "grad_output"),
    *wrong_bags("embedding_bag_dense_backward", BAG_BACKWARD, "grad_output"),
    *wrong_layout("embedding_bag_dense_backward", BAG_BACKWARD),
    *wrong_padding("embedding_bag_dense_backward", BAG_BACKWARD),
    *wrong_mode("embedding_bag_dense_backward", BAG_BACKWARD, "'sum', 'mean' or 'max'", "min"),
    Wrong(
        "embedding_bag_dense_backward",
        BAG_BACKWARD,
        "grad_output",
        shaped(4, 4),
        "grad_output: expected shape (3, 4), got shape (4, 4)",
    ),
    Wrong(
        "embedding_bag_dense_backward",
        BAG_BACKWARD,
        "num_weights",
        value(-1),
        "num_weights: expected a value of at least 0, got -1",
    ),
    Wrong(
        "embedding_bag_dense_backward",
        MAX_BACKWARD,
        "argmax",
        to(torch.int32),
        "argmax: expected dtype int64 (as indices), got int32",
    ),
    Wrong(
        "embedding_bag_dense_backward",
        MAX_BACKWARD,
        "argmax",
        shaped(0),
        "argmax: expected shape (3, 4), got shape (0,)",
    ),
    #
    *wrong_table("embedding_bag_per_sample_weights_backward", BAG_WEIGHTS, "weight"),
    *wrong_bags("embedding_bag_per_sample_weights_backward", BAG_WEIGHTS, "weight"),
    *wrong_layout("embedding_bag_per_sample_weights_backward", BAG_WEIGHTS),
    *wrong_padding("embedding_bag_per_sample_weights_backward", BAG_WEIGHTS),
    *wrong_mode("embedding_bag_per_sample_weights_backward", BAG_WEIGHTS, "'sum' or 'mean'", "max"),
    *wrong_grad("embedding_bag_per_sample_weights_backward", BAG_WEIGHTS, (3, 4), "weight"),
    #
    *wrong_sizes("multi_embedding", TABLES),
    *wrong_storage("multi_embedding", TABLES),
    *wrong_storage("multi_embedding", PADDED),
    *wrong_tables("multi_embedding", TABLES, "weight"),
    *wrong_pooled("multi_embedding", POOLED, "weight"),
    #
    *wrong_sizes("multi_embedding_dense_backward", TABLES_BACKWARD),
    *wrong_table("multi_embedding_dense_backward", TABLES_BACKWARD, "grad_output"),
    *wrong_tables("multi_embedding_dense_backward", TABLES_BACKWARD, "grad_output"),
    *wrong_pooled("multi_embedding_dense_backward", POOLED_BACKWARD, "grad_output"),
    Wrong(
        "multi_embedding_dense_backward",
        TABLES_BACKWARD,
        "grad_output",
        shaped(3, 7),
        "grad_output: expected shape (3, 6), got shape (3, 7)",
    ),
    #
    *wrong_sizes("multi_embedding_per_sample_weights_backward", POOLED_WEIGHTS),
    *wrong_storage("multi_embedding_per_sample_weights_backward", POOLED_WEIGHTS),
    *wrong_pooled("multi_embedding_per_sample_weights_backward", POOLED_WEIGHTS, "weight"),
    *wrong_grad("multi_embedding_per_sample_weights_backward", POOLED_WEIGHTS, (2, 6), "weight"),
    #
    *wrong_weights("multi_embedding_list", LIST),
    *wrong_tables("multi_embedding_list", LIST, "weights[0]"),
    *wrong_pooled("multi_embedding_list", LIST_POOLED, "weights[0]"),
    Wrong(
        "multi_embedding_list",
        LIST,
        "weights",
        value([]),
        "weights: expected at least 1 tensor, got 0 tensors",
    ),
    #
    *wrong_sizes("multi_embedding_list_dense_backward", LIST_BACKWARD),
    *wrong_table("multi_embedding_list_dense_backward", LIST_BACKWARD, "grad_output"),
    *wrong_tables("multi_embedding_list_dense_backward", LIST_BACKWARD, "grad_output"),
    *wrong_pooled("multi_embedding_list_dense_backward", LIST_POOLED_BACKWARD, "grad_output"),
    Wrong(
        "multi_embedding_list_dense_backward",
        LIST_BACKWARD,
        "grad_output",
        shaped(2, 6),
        "grad_output: expected shape (3, 6), got shape (2, 6)",
    ),
    #
    *wrong_weights("multi_embedding_list_per_sample_weights_backward", LIST_POOLED_WEIGHTS),
    *wrong_pooled(
        "multi_embedding_list_per_sample_weights_backward", LIST_POOLED_WEIGHTS, "weights[0]"
    ),
    *wrong_grad(
        "multi_embedding_list_per_sample_weights_backward",
        LIST_POOLED_WEIGHTS,
        (2, 6),
        "weights[0]",
    ),
]


def without_padded(recipe: Recipe) -> Recipe:
    """The arguments of a dense gradient op but for how its result is stored."""

    def compressed(d: Draw) -> Arguments:
        return {name: given for name, given in recipe(d).items() if name != "padded"}

    return compressed


WRONG += [
    wrong._replace(op=compressed, right=without_padded(wrong.right))
    for wrong in WRONG
    for compressed in COMPRESSED_OF.get(wrong.op, [])
]
WRONG += [
    Wrong(
        f"{op}_compressed_backward_padded",
        RIGHT[f"{op}_compressed_backward_padded"],
        "size",
        value(-1),
        "size: expected a value of at least 0, got -1",
    )
    for op in ("embedding", "embedding_bag")
]


def wrong_vector(op: str, argument: str) -> list[Wrong]:
    recipe = RIGHT[op]
    return [
        Wrong(op, recipe, argument, to(torch.float32), f"{argument}: {INTEGERS}, got float32"),
        Wrong(op, recipe, argument, to(torch.uint8), f"{argument}: {INTEGERS}, got uint8"),
        Wrong(
            op,
            recipe,
            argument,
            shaped(2, 3),
            f"{argument}: expected 1 dimension, got shape (2, 3)",
        ),
    ]


WRONG += [
    *wrong_indices("row_ids_from_fixed", RIGHT["row_ids_from_fixed"]),
    Wrong(
        "row_ids_from_fixed",
        RIGHT["row_ids_from_fixed"],
        "indices",
        shaped(6),
        "indices: expected 2 dimensions, got shape (6,)",
    ),
    *wrong_vector("row_ids_from_csr", "offsets"),
    Wrong(
        "row_ids_from_csr",
        offsets_alone((2, 3, 1), last=True),
        "offsets",
        shaped(0),
        "offsets: expected at least 1 element with include_last_offset, got shape (0,)",
    ),
    Wrong(
        "row_ids_from_csr",
        RIGHT["row_ids_from_csr"],
        "num_indices",
        value(-2),
        "num_indices: expected a value of at least 0, got -2",
    ),
    *wrong_vector("offsets_from_row_ids", "row_ids"),
    Wrong(
        "offsets_from_row_ids",
        RIGHT["offsets_from_row_ids"],
        "num_bags",
        value(-1),
        "num_bags: expected a value of at least 0, got -1",
    ),
    *wrong_vector("transpose", "indices"),
    *wrong_padding("transpose", COORDINATES),
    Wrong("transpose", COORDINATES, "row_ids", to(torch.int8), f"row_ids: {INTEGERS}, got int8"),
    Wrong(
        "transpose",
        COORDINATES,
        "row_ids",
        shaped(5),
        "row_ids: expected shape (6,), got shape (5,)",
    ),
    Wrong(
        "transpose",
        COORDINATES,
        "num_weights",
        value(-1),
        "num_weights: expected a value of at least 0, got -1",
    ),
    Wrong(
        "transpose",
        COORDINATES,
        "per_sample_weights",
        to(torch.int64),
        f"per_sample_weights: {FLOATS}, got int64",
    ),
    Wrong(
        "transpose",
        COORDINATES,
        "per_sample_weights",
        shaped(6, 1),
        "per_sample_weights: expected shape (6,), got shape (6, 1)",
    ),
    *wrong_vector("compressed_indices", "indices"),
    *wrong_vector("compressed_indices_padded", "indices"),
]


def spoiled(wrong: Wrong, device: str) -> Arguments:
    arguments = wrong.right(Draw(wrong.op, device, torch.float32))
    return arguments | {wrong.argument: wrong.change(arguments.get(wrong.argument))}


def raised(op: str, arguments: Arguments) -> Exception:
    with pytest.raises(Exception) as caught:
        call(op, arguments)
    return caught.value


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
# Bad values: an IndexError, at once on the CPU, late on CUDA


class Bad(NamedTuple):
    op: str
    argument: str
    position: int
    value: int
    text: str
    """Of the IndexError, behind ``embed_ops::{op}: ``."""


def bad_index(op: str, position: int, value: int) -> Bad:
    # The pooled calls look up 3 rows of the first table, which has 5, then 3 of the second.
    limit, table = 10, ""
    if op.startswith("multi"):
        limit, table = (5, " (table 0)") if position < 3 else (3, " (table 1)")
    text = f"indices: expected values in [0, {limit}), got {value} at position {position}{table}"
    return Bad(op, "indices", position, value, text)


BEYOND_32_BITS = (2**31, 2**32, 2**32 + 1, -(2**32), -(2**63), 2**63 - 1)

# Ops whose indices name rows of a table of which they know the size.
NAMING_ROWS = [
    op
    for op in RIGHT
    if "indices" in right(op, "cpu")
    and op not in ("row_ids_from_fixed", "compressed_indices", "compressed_indices_padded")
]

BAD_INDICES = [
    bad_index(op, position, value)
    for op in NAMING_ROWS
    for position in (1, 5)
    for value in (-1, 10, *BEYOND_32_BITS)
]

# Right offsets are 0, 2, 5 of 6 lookups; of the pooled calls 0, 1, 3, 3, 6.
BAD_OFFSETS = [
    Bad(op, "offsets", position, value, f"offsets: expected {text}, got {value}{where}")
    for op in RIGHT
    if "offsets" in right(op, "cpu")
    for position, value, text, where in [
        (0, 1, "offsets[0] == 0", ""),
        (0, -1, "offsets[0] == 0", ""),
        *(
            [
                (2, 0, "non-decreasing values", " after 1 at position 2"),
                (2, -4, "non-decreasing values", " after 1 at position 2"),
                (4, 7, "values of at most 6", " at position 4"),
                (4, 2**32 + 6, "values of at most 6", " at position 4"),
            ]
            if op.startswith("multi")
            else [
                (2, 1, "non-decreasing values", " after 2 at position 2"),
                (2, -4, "non-decreasing values", " after 2 at position 2"),
                (2, 7, "values of at most 6", " at position 2"),
                (2, 2**32 + 6, "values of at most 6", " at position 2"),
            ]
        ),
    ]
]

# What is sorted does not decrease, and only -1 stands behind it.
BAD_ORDER = [
    *(
        Bad(
            op,
            "indices",
            position,
            value,
            f"indices: expected non-decreasing values, and -1 behind them, {text}",
        )
        for op in ("compressed_indices", "compressed_indices_padded")
        for position, value, text in [
            (0, -2, "got -2 after 0 at position 0"),
            (5, 1, "got 1 after 7 at position 5"),
        ]
    ),
    *(
        Bad(
            "offsets_from_row_ids",
            "row_ids",
            position,
            value,
            "row_ids: expected non-decreasing values in [0, 3), and -1 behind them, "
            f"got {got} at position {where}",
        )
        for position, value, got, where in [
            (5, 3, 3, 5),
            (5, -2, -2, 5),
            (5, 0, 0, 5),
            (4, -1, 2, 5),
            (5, 2**40, 2**40, 5),
        ]
    ),
]

BAD = BAD_INDICES + BAD_OFFSETS + BAD_ORDER
BAD_IDS = [f"{bad.op}-{bad.argument}-{bad.position}-{bad.value}" for bad in BAD]


def with_bad_value(bad: Bad, device: str, dtype: torch.dtype = torch.int64) -> Arguments:
    arguments = right(bad.op, device, index_dtype=dtype)
    tensor = arguments[bad.argument].clone()
    tensor.view(-1)[bad.position] = bad.value
    return arguments | {bad.argument: tensor}


def check_bad(bad: Bad, error: BaseException) -> None:
    assert type(error) is IndexError
    assert str(error) == f"embed_ops::{bad.op}: {bad.text}"


def copies(arguments: Arguments) -> list[Tensor]:
    return [tensor.clone() for tensor in tensors(arguments)]


@pytest.mark.parametrize("mode", ["raise", "assert"])
@pytest.mark.parametrize("bad", BAD, ids=BAD_IDS)
def test_bad_values_on_the_cpu_raise_at_once(bad: Bad, mode: str) -> None:
    arguments = with_bad_value(bad, "cpu")
    before = copies(arguments)
    with embed_ops.bounds_check(mode):
        check_bad(bad, raised(bad.op, arguments))
    if bad.op != "embedding_renorm_":
        assert_same_bits(tensors(arguments), before)
    assert call(bad.op, right(bad.op, "cpu")) is not None or bad.op == "embedding_renorm_"


FITS_32_BITS = [bad for bad in BAD if -(2**31) <= bad.value < 2**31]


@pytest.mark.parametrize(
    "bad", FITS_32_BITS, ids=[f"{bad.op}-{bad.argument}-{bad.value}" for bad in FITS_32_BITS]
)
def test_bad_int32_values_on_the_cpu(bad: Bad) -> None:
    check_bad(bad, raised(bad.op, with_bad_value(bad, "cpu", torch.int32)))


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64], ids=str)
@pytest.mark.parametrize("threads", [1, 3])
def test_the_first_of_several_is_named(dtype: torch.dtype, threads: int) -> None:
    indices = torch.zeros(50_000, dtype=dtype)
    indices[[49_999, 31_000, 20_001]] = torch.tensor([7, -8, 9], dtype=dtype)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        error = raised("embedding", {"weight": torch.zeros(5, 8), "indices": indices})
    finally:
        torch.set_num_threads(before)
    assert str(error) == (
        "embed_ops::embedding: indices: expected values in [0, 5), got 9 at position 20001"
    )


def test_the_table_of_an_index_without_offsets_is_its_column(device: str) -> None:
    arguments = TABLES(Draw("", device, torch.float32))
    arguments["indices"][2, 1] = 3
    if device == "cpu":
        error: BaseException = raised("multi_embedding", arguments)
    else:
        call("multi_embedding", arguments)
        error = late_error()
    assert type(error) is IndexError
    assert str(error) == (
        "embed_ops::multi_embedding: indices: "
        "expected values in [0, 3), got 3 at position 5 (table 1)"
    )


@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_compiled_code_does_not_wrap_negative_indices(
    backend: str, device: str, fresh_compiler: None
) -> None:
    weight = torch.randn(10, 4, device=device)
    indices = torch.tensor([3, -1], device=device)
    compiled = torch.compile(torch.ops.embed_ops.embedding, backend=backend, fullgraph=True)
    text = "embed_ops::embedding: indices: expected values in [0, 10), got -1 at position 1"
    if device == "cpu":
        with pytest.raises(IndexError) as caught:
            compiled(weight, indices)
        assert str(caught.value) == text
    else:
        assert compiled(weight, indices)[1].tolist() == [0.0] * 4
        assert str(late_error()) == text


def test_rows_that_argmax_invents_are_not_written(device: str) -> None:
    """No op returns such an argmax; a caller may pass one all the same."""
    arguments = MAX_BACKWARD(Draw("", device, torch.float32))
    rows = arguments["num_weights"]
    for invented in (rows, 2**40, -5):
        argmax = arguments["argmax"].clone()
        argmax[1, 2] = invented
        with embed_ops.bounds_check("ignore"):
            gradient = call("embedding_bag_dense_backward", arguments | {"argmax": argmax})
        without = arguments["argmax"].clone()
        without[1, 2] = -1
        assert_is_reference(
            "embedding_bag_dense_backward", arguments | {"argmax": without}, gradient
        )


# On CUDA


def late_error() -> BaseException:
    """What CUDA kernels have recorded, which must be forgotten then."""
    with pytest.raises(IndexError) as caught:
        embed_ops.check_errors()
    embed_ops.check_errors()
    return caught.value


@pytest.mark.gpu
@pytest.mark.parametrize("bad", BAD, ids=BAD_IDS)
def test_bad_values_on_cuda_raise_late(bad: Bad) -> None:
    arguments = with_bad_value(bad, "cuda")
    before = copies(arguments)
    result = call(bad.op, arguments)
    check_bad(bad, late_error())
    if bad.op != "embedding_renorm_":
        assert_same_bits(tensors(arguments), before)
        if bad.op in NAMING_ROWS and bad.argument == "indices":
            assert_is_reference(bad.op, arguments, result)


@pytest.mark.gpu
@pytest.mark.parametrize(
    "bad", FITS_32_BITS, ids=[f"{b.op}-{b.argument}-{b.value}" for b in FITS_32_BITS]
)
def test_the_next_call_raises_and_the_one_after_works(bad: Bad) -> None:
    call(bad.op, with_bad_value(bad, "cuda", torch.int32))
    torch.cuda.synchronize()
    arguments = right(bad.op, "cuda")
    check_bad(bad, raised(bad.op, arguments))
    result = call(bad.op, arguments)
    if bad.op != "embedding_renorm_":
        assert_is_reference(bad.op, arguments, result)


@pytest.mark.gpu
def test_bad_values_are_recorded_when_a_graph_is_replayed() -> None:
    weight = torch.randn(10, 4, device="cuda")
    indices = torch.zeros(5, dtype=torch.int64, device="cuda")
    torch.ops.embed_ops.embedding(weight, indices)  # Outside of the capture: first use.
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        output = torch.ops.embed_ops.embedding(weight, indices)
    for value in (7, -2, 3, 11, 4):
        indices[3] = value
        graph.replay()
        if 0 <= value < 10:
            embed_ops.check_errors()
            assert_same_bits(output, weight[indices])
        else:
            assert str(late_error()) == (
                "embed_ops::embedding: indices: "
                f"expected values in [0, 10), got {value} at position 3"
            )
            assert output[3].tolist() == [0.0] * 4


@pytest.mark.gpu
def test_a_pending_error_does_not_break_a_capture() -> None:
    """It is raised before the capture's first call, or after; the context survives either way."""
    weight = torch.randn(10, 4, device="cuda")
    torch.ops.embed_ops.embedding(weight, torch.tensor([12], device="cuda"))
    assert "got 12 at position 0" in str(late_error())
    indices = torch.tensor([1, 2], device="cuda")
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        output = torch.ops.embed_ops.embedding(weight, indices)
    graph.replay()
    assert_same_bits(output, weight[1:3])


@pytest.mark.gpu
def test_only_the_first_offence_is_kept() -> None:
    weight = torch.randn(10, 4, device="cuda")
    torch.ops.embed_ops.embedding(weight, torch.tensor([12], device="cuda"))
    # The second call may already find the first's error; it must not replace it.
    try:
        torch.ops.embed_ops.embedding(weight, torch.tensor([0, -3], device="cuda"))
        error: BaseException = late_error()
    except IndexError as raised_by_second:
        error = raised_by_second
    assert "got 12 at position 0" in str(error)


@pytest.mark.gpu
def test_assert_mode_is_a_device_side_assertion() -> None:
    program = """
import torch, embed_ops
embed_ops.bounds_check("assert")
weight = torch.zeros(10, 4, device="cuda")
torch.ops.embed_ops.embedding(weight, torch.tensor([3], device="cuda"))
torch.cuda.synchronize()
print("right indices pass", flush=True)
torch.ops.embed_ops.embedding(weight, torch.tensor([12], device="cuda"))
torch.cuda.synchronize()
"""
    run = run_in_new_process(program)
    assert "right indices pass" in run.stdout, run.stderr
    assert run.returncode != 0
    assert "device-side assert" in run.stderr
    assert "index out of range" in run.stderr


# Ignored


def with_rows_that_do_not_exist(arguments: Arguments) -> Arguments:
    indices = arguments["indices"].clone()
    flat = indices.view(-1)
    flat[::3] = -1
    flat[1::5] = torch.iinfo(indices.dtype).max
    return arguments | {"indices": indices}


@pytest.fixture
def ignored() -> Iterator[None]:
    with embed_ops.bounds_check("ignore"):
        yield


@pytest.mark.parametrize("index_dtype", [torch.int32, torch.int64], ids=str)
@pytest.mark.parametrize("sample", [s for s in PURE_SAMPLES if s.op in NAMING_ROWS], ids=str)
def test_ignored_rows_read_as_zeros_and_do_not_count(
    sample: Sample, index_dtype: torch.dtype, device: str, ignored: None
) -> None:
    arguments = with_rows_that_do_not_exist(
        sample.arguments(device, torch.float32, index_dtype=index_dtype)
    )
    before = copies(arguments)
    assert_is_reference(sample.op, arguments, call(sample.op, arguments))
    assert_same_bits(tensors(arguments), before)
    embed_ops.check_errors()


FAITHFUL = [sample for sample in DIFFERENTIABLE_SAMPLES if sample.faithful and not sample.large]


@pytest.mark.parametrize("sample", FAITHFUL[::3], ids=str)
def test_gradients_around_ignored_rows(sample: Sample, device: str, ignored: None) -> None:
    arguments = requiring_grad(with_rows_that_do_not_exist(sample.arguments(device, torch.float64)))
    inputs = leaves(arguments)

    def function(*given: Tensor) -> tuple[Tensor, ...]:
        replacement = {id(old): new for old, new in zip(inputs, given, strict=True)}
        return tuple(
            floats(call(sample.op, map_tensors(lambda t: replacement.get(id(t), t), arguments)))
        )

    how = {"nondet_tol": 1e-12, "fast_mode": device == "cuda"}
    assert torch.autograd.gradcheck(function, inputs, **how)
    assert torch.autograd.gradgradcheck(function, inputs, **how)


def test_ignored_rows_are_not_renormalised(device: str, ignored: None) -> None:
    weight = torch.ones(3, 4, device=device)
    torch.ops.embed_ops.embedding_renorm_(weight, torch.tensor([-1, 3, 1], device=device), 1.0)
    assert weight.eq(1).all(dim=1).tolist() == [True, False, True]


def test_ignored_offsets_are_clamped(device: str, ignored: None) -> None:
    weight = torch.arange(1.0, 9.0, device=device)[:, None]
    indices = torch.arange(8, device=device)
    offsets = torch.tensor([-3, 2, 100, 5, 2**40], device=device)
    output, _ = torch.ops.embed_ops.embedding_bag(weight, indices, offsets, mode="sum")
    # Bags [0, 2), [2, 8), none, [5, 8), none.
    assert output.flatten().tolist() == [3.0, 33.0, 0.0, 21.0, 0.0]
    embed_ops.check_errors()


def test_bounds_check_lasts_as_long_as_its_with_statement() -> None:
    bad = {"weight": torch.ones(2, 1), "indices": torch.tensor([5])}
    with embed_ops.bounds_check("ignore"):
        assert call("embedding", bad).tolist() == [[0.0]]
        with embed_ops.bounds_check("raise"):
            assert type(raised("embedding", bad)) is IndexError
        assert call("embedding", bad).tolist() == [[0.0]]
    assert type(raised("embedding", bad)) is IndexError


def test_bounds_check_without_with_lasts() -> None:
    bad = {"weight": torch.ones(2, 1), "indices": torch.tensor([5])}
    embed_ops.bounds_check("ignore")
    try:
        assert call("embedding", bad).tolist() == [[0.0]]
    finally:
        embed_ops.bounds_check("raise")


def test_bounds_check_refuses_other_modes() -> None:
    with pytest.raises(ValueError) as caught:
        embed_ops.bounds_check("warn")
    assert str(caught.value) == (
        "embed_ops.bounds_check: mode: expected 'raise', 'assert' or 'ignore', got 'warn'"
    )


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
