"""``WRONG``: for each op the arguments that it refuses, and in which words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from right_arguments import (
    BAG_BACKWARD,
    BAG_WEIGHTS,
    BAGS,
    COMPRESSED_OF,
    COORDINATES,
    EMBEDDING_BACKWARD,
    FIXED,
    LIST,
    LIST_BACKWARD,
    LIST_POOLED,
    LIST_POOLED_BACKWARD,
    LIST_POOLED_WEIGHTS,
    LOOKUP,
    MAX,
    MAX_BACKWARD,
    PADDED,
    POOLED,
    POOLED_BACKWARD,
    POOLED_WEIGHTS,
    RENORM,
    RIGHT,
    TABLES,
    TABLES_BACKWARD,
)
from samples import Arguments, Draw, Recipe, offsets_alone

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
