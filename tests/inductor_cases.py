"""Small models with lookups of every kind: the one table that the tests of the rewrites go over."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

import embed_ops

Inputs = tuple[Any, ...]


@dataclass(frozen=True)
class Case:
    """A function of tensors.

    Attributes:
        function: what is compiled; named after the case.
        inputs: shapes of tables, and calls that make the other tensors.
        becomes: the ops that its lookups become, in the order of the model.
    """

    function: Callable[..., Any]
    inputs: tuple[Any, ...]
    becomes: tuple[str, ...]

    def make(self, device: str = "cpu") -> Inputs:
        torch.manual_seed(0)
        # Parameters, for their sizes are never dynamic.
        return tuple(
            torch.nn.Parameter(torch.randn(spec, device=device))
            if isinstance(spec, tuple)
            else _on(device, spec())
            for spec in self.inputs
        )

    def __str__(self) -> str:
        return self.function.__name__


CASES: dict[str, Case] = {}


def _on(device: str, tensor: Tensor) -> Tensor:
    return tensor.detach().to(device).requires_grad_(tensor.requires_grad)


def case(*inputs: Any, becomes: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        CASES[function.__name__] = Case(function, inputs, tuple(becomes.split()))
        return function

    return register


def indices(*shape: int, rows: int = 6) -> Callable[[], Tensor]:
    return lambda: torch.randint(rows, shape)


def signed_indices(*shape: int, rows: int = 6) -> Callable[[], Tensor]:
    return lambda: torch.randint(-rows, rows, shape)


def floats(*shape: int) -> Callable[[], Tensor]:
    return lambda: (torch.rand(shape) + 0.5).requires_grad_()


def offsets(*values: int) -> Callable[[], Tensor]:
    return lambda: torch.tensor(values)


# Single rows.


@case((6, 4), indices(2, 3), becomes="embedding")
def rows(weight, x):
    return F.embedding(x, weight)


@case((6, 4), indices(2, 3), becomes="embedding")
def rows_with_options(weight, x):
    return F.embedding(x, weight, padding_idx=-2, scale_grad_by_freq=True)


@case((6, 4), indices(5), becomes="embedding")
def index_select(weight, x):
    return weight.index_select(0, x), torch.index_select(weight, 1, x % 4)


@case((6, 4), indices(5), becomes="embedding")
def index_select_without_gradient(weight, x):
    return torch.index_select(weight.detach(), dim=-2, index=x)


@case((6, 4), signed_indices(2, 3), becomes="embedding")
def getitem(weight, x):
    return weight[x].sin()


@case((6, 2, 3), signed_indices(5), becomes="embedding")
def getitem_of_a_deep_table(weight, x):
    return weight[x, ..., :].sin()


# Bags.


@case((6, 4), indices(2, 3), becomes="embedding_bag")
def bag(weight, x):
    return F.embedding_bag(x, weight)


@case((6, 4), indices(7), offsets(0, 3, 3), floats(7), becomes="embedding_bag")
def bag_of_offsets(weight, x, begin, weights):
    return F.embedding_bag(x, weight, begin, mode="sum", per_sample_weights=weights, padding_idx=2)


@case((6, 4), indices(7), offsets(0, 3, 3, 7), becomes="embedding_bag")
def bag_of_all_offsets(weight, x, begin):
    return F.embedding_bag(x, weight, begin, mode="max", include_last_offset=True)


@case((6, 4), indices(5, 1), becomes="embedding")
def bag_of_single_rows(weight, x):
    return F.embedding_bag(x, weight).sin()


@case((6, 4), indices(5, 1), floats(5, 1), becomes="embedding_bag")
def bag_of_single_weighted_rows(weight, x, weights):
    return F.embedding_bag(x, weight, mode="sum", per_sample_weights=weights)


@case(
    (6, 4),
    (6, 3),
    indices(5, 1),
    indices(5),
    becomes="multi_embedding_list multi_embedding_list",
)
def bag_of_single_rows_beside_rows(first, second, x, y):
    return torch.cat([F.embedding_bag(x, first), F.embedding(y, second)], 1)


# Pooling.


@case((6, 4), indices(2, 3), becomes="embedding_bag")
def pooled_sum(weight, x):
    return F.embedding(x, weight).sum(1)


@case((6, 4), indices(2, 3), becomes="embedding_bag")
def pooled_mean(weight, x):
    return torch.mean(F.embedding(x, weight), dim=-2, keepdim=True)


@case((6, 4), indices(2, 3, 2), becomes="embedding_bag")
def pooled_over_the_first_dimension(weight, x):
    return F.embedding(x, weight).sum((0,))


@case((6, 4), indices(5), becomes="embedding_bag")
def pooled_to_one_row(weight, x):
    return weight[x].sum(0)


@case((6, 4), indices(2, 3), becomes="embedding_bag")
def masked_mean(weight, x):
    mask = (x != 0).unsqueeze(-1).float()
    return (F.embedding(x, weight, padding_idx=0) * mask).sum(1) / mask.sum(1).clamp(min=1)


@case((6, 4), floats(3, 1), indices(2, 3), becomes="embedding_bag")
def weighted_mean_of_all(weight, weights, x):
    return (weights * F.embedding(x, weight)).mean(1)


@case((6, 4), floats(2, 3), indices(2, 3), becomes="embedding_bag")
def pooled_with_padding(weight, weights, x):
    return (F.embedding(x, weight, padding_idx=2) * weights[..., None]).mean(1)


# Additions to other rows. Sorting pays only where there is much to add up.

MANY = 2**18


@case((65536, 16), indices(MANY, rows=65536), indices(MANY, rows=65000), becomes="embedding_bag")
def added_to_zeros(weight, sources, targets):
    return torch.zeros(65000, 16, device=weight.device).index_add(0, targets, weight[sources])


@case((65536, 16), indices(MANY, rows=65536), indices(MANY, rows=65000), becomes="embedding_bag")
def added_to_zeros_in_place(weight, sources, targets):
    out = weight.new_zeros(65000, 16)
    out.index_add_(0, targets, weight.index_select(0, sources))
    return out.relu_()


@case(
    (65536, 16),
    (65000, 16),
    indices(MANY, rows=65536),
    indices(MANY, rows=65000),
    becomes="embedding_bag",
)
def added_to_others(weight, others, sources, targets):
    rows = F.embedding(sources, weight)
    return torch.index_add(input=others, dim=-2, index=targets.int(), source=rows)


@case(
    (65536, 16),
    indices(MANY, rows=65536),
    indices(MANY, rows=65536),
    becomes="embedding_bag embedding_bag",
)
def added_twice_along_the_same_edges(x, sources, targets):
    x = x.double()  # long sums
    x = x + torch.zeros_like(x).index_add(0, targets, x.index_select(0, sources)).relu_()
    return torch.zeros_like(x).index_add_(0, targets, x.index_select(0, sources))


@case(
    (65536, 16),
    indices(MANY, rows=65536),
    indices(MANY, rows=65536),
    becomes="embedding_bag embedding_bag",
)
def added_along_edges_that_change(x, sources, targets):
    x, targets = x.detach().double(), targets.clone()
    first = torch.zeros_like(x).index_add(0, targets, x.index_select(0, sources))
    targets.zero_()
    return first + torch.zeros_like(x).index_add(0, targets, x.index_select(0, sources))


# Tables.


@case(
    (6, 4),
    (6, 3),
    indices(2, 3),
    indices(2, 3),
    becomes="multi_embedding_list multi_embedding_list",
)
def tables_of_equal_bags(first, second, x, y):
    return torch.cat([F.embedding_bag(x, first), F.embedding_bag(y, second)], 1)


@case(
    (6, 4),
    (6, 3),
    (6, 2),
    indices(2, 4),
    indices(5),
    offsets(0, 4),
    offsets(0, 4, 5),
    becomes="multi_embedding_list multi_embedding_list multi_embedding_list",
)
def tables_of_all_bags(first, second, third, x, y, begin, begin_and_end):
    last = F.embedding_bag(y, third, begin_and_end, mode="sum", include_last_offset=True)
    start = F.embedding_bag(y, second, begin, mode="sum")
    return torch.cat([start, F.embedding_bag(x, first, mode="sum"), start.sin(), last], -1)


@case(
    (6, 4),
    (6, 3),
    floats(2, 3),
    floats(2, 3),
    indices(2, 3),
    floats(2, 5),
    becomes="multi_embedding_list multi_embedding_list",
)
def tables_of_weighted_bags(first, second, weights, others, x, dense):
    a = F.embedding_bag(x, first, mode="sum", per_sample_weights=weights)
    b = F.embedding_bag(x, second, mode="sum", per_sample_weights=others)
    return torch.cat([dense, a, b], 1)


@case(
    (6, 4),
    (7, 3),
    indices(5, 1),
    indices(5, 1, rows=7),
    becomes="multi_embedding_list multi_embedding_list",
)
def tables_of_single_rows(first, second, x, y):
    return torch.cat([F.embedding_bag(x, first), F.embedding_bag(y, second)], 1)


@case((6, 4), (6, 3), indices(5, 3), becomes="multi_embedding_list multi_embedding_list")
def tables_of_single_columns(first, second, x):
    a = F.embedding_bag(x[:, -2:-1], first, mode="sum")
    return torch.cat([a, F.embedding_bag(x[:, 2:], second, mode="sum")], 1)


@case(
    (6, 4),
    (6, 3),
    indices(5, 1),
    indices(5, 2),
    becomes="multi_embedding_list multi_embedding_list",
)
def tables_of_single_rows_and_bags(first, second, x, y):
    return torch.cat([F.embedding_bag(x, first), F.embedding_bag(y, second)], 1)


@case((6, 4), (6, 3), indices(5, 2), becomes="multi_embedding_list multi_embedding_list")
def tables_of_columns(first, second, x):
    return torch.cat([F.embedding(x[:, 0], first), F.embedding(x[:, 1], second)], 1)


@case((6, 4), (6, 4), indices(5, 3), becomes="multi_embedding_list multi_embedding_list")
def tables_of_some_columns(first, second, x):
    return F.embedding(x[:, 1], first) * F.embedding(x[:, 2], second)


@case(
    (6, 4),
    (6, 3),
    indices(2, 3),
    indices(2, 3),
    becomes="multi_embedding_list multi_embedding_list",
)
def tables_of_sequences(first, second, x, y):
    return torch.concat((F.embedding(y, second), F.embedding(x, first)), dim=2)


@case((6, 4), (6, 3), indices(5), indices(5), becomes="multi_embedding_list multi_embedding_list")
def tables_used_before_all_are_looked_up(first, second, x, y):
    start = F.embedding(x, first).cos()
    return torch.cat([start, F.embedding(5 - y, second)], 1)


@case((6, 4), (6, 3), indices(2, 3), becomes="multi_embedding_list multi_embedding_list")
def pooled_tables(first, second, x):
    return torch.cat([F.embedding(x, first).sum(1), F.embedding(x, second).sum(1)], 1)


@case((6, 4), (6, 3), indices(5), becomes="multi_embedding_list multi_embedding_list")
def tables_joined_without_gradient(first, second, x):
    a, b = F.embedding(x, first), F.embedding(x, second)
    with torch.no_grad():
        constant = torch.cat([a, b], 1)
    return a.sin().sum(1) * b.cos().sum(1) * constant.sum(1)


@case((6, 4), (6, 3), indices(5), becomes="multi_embedding_list multi_embedding_list")
def tables_joined_and_written_to(first, second, x):
    a, b = F.embedding(x, first), F.embedding(x, second)
    joined = torch.cat([a, b], 1)
    joined.mul_(2.0)
    return joined, a.sin()


@case((6, 4), (6, 3), indices(5), becomes="multi_embedding_list multi_embedding_list")
def tables_joined_and_returned(first, second, x):
    a, b = F.embedding(x, first), F.embedding(x, second)
    return torch.cat([a, b], 1), a


# This library's own functions.


@case((6, 4), indices(2, 3), becomes="embedding_bag")
def own_rows_pooled(weight, x):
    return embed_ops.embedding(x, weight).sum(1)


@case((6, 4), (6, 3), indices(2, 3), becomes="multi_embedding_list multi_embedding_list")
def own_bags_together(first, second, x):
    return torch.cat([embed_ops.embedding_bag(x, first), embed_ops.embedding_bag(x, second)], 1)


@case((6, 4), indices(2, 3), becomes="")
def own_rows_under_vmap(weight, x):
    return torch.func.vmap(lambda i: embed_ops.embedding(i, weight).sum(0))(x)


# What stays.


@case((6, 4), indices(2, 3), becomes="unchanged")
def rows_of_max_norm(weight, x):
    return F.embedding(x, weight.detach(), max_norm=1.0)


@case((6, 4), indices(2, 3), becomes="unchanged")
def rows_with_sparse_gradient(weight, x):
    return F.embedding(x, weight.detach(), sparse=True)


@case(indices(6, 4), indices(2, 3), becomes="unchanged")
def rows_of_integers(weight, x):
    return F.embedding(x, weight)


@case((6, 4), lambda: torch.rand(5) > 0.5, becomes="")
def getitem_of_a_mask(weight, mask):
    return weight[:5] * mask[:, None]


@case((6,), indices(5), becomes="unchanged")
def getitem_of_numbers(weight, x):
    return weight[x]


@case((6, 4), indices(5), becomes="unchanged")
def getitem_without_gradient(weight, x):
    return weight.detach()[x]


@case((6, 4), lambda: torch.tensor(2), becomes="unchanged")
def index_select_of_one_number(weight, x):
    return weight.index_select(0, x)


@case((6, 3, 2), indices(5), becomes="unchanged")
def getitem_of_a_scattered_table(weight, x):
    return weight.transpose(1, 2)[x]


@case((6, 4), indices(5), becomes="unchanged")
def getitem_under_vmap(weight, x):
    return torch.func.vmap(lambda i: weight[i.unsqueeze(0)])(x)


@case((6, 4), indices(2, 3), becomes="embedding")
def pooled_and_read(weight, x):
    read = F.embedding(x, weight)
    return read.sum(1) + read[:, 0]


@case((6, 4), indices(2, 3), becomes="embedding")
def pooled_after_a_barrier(weight, x):
    chosen = x.clone()
    read = F.embedding(chosen, weight.detach())
    chosen.zero_()
    return read.sum(1) + weight.sum()


@case((6, 4), floats(2, 3, 4), indices(2, 3), becomes="embedding")
def pooled_with_other_factors(weight, factors, x):
    return (F.embedding(x, weight) * factors).sum(1)


@case((6, 4), indices(2, 3), becomes="embedding")
def pooled_in_another_dtype(weight, x):
    return F.embedding(x, weight).sum(1, dtype=torch.float64)


@case((6, 4), indices(5), becomes="unchanged")
def added_but_few(weight, x):
    return torch.zeros_like(weight).index_add(0, x, weight.index_select(0, x))


@case((65536, 8), indices(2 * MANY, rows=65536), becomes="unchanged")
def added_but_short(weight, x):
    return torch.zeros_like(weight).index_add(0, x, weight.index_select(0, x))


@case((6, 4), indices(5), indices(2, 5), becomes="unchanged")
def added_under_vmap(weight, x, targets):
    def add(targets):
        return torch.zeros_like(weight).index_add(0, targets, weight.index_select(0, x))

    return torch.func.vmap(add)(targets)


@case((6, 4), indices(5), becomes="unchanged")
def added_with_a_factor(weight, x):
    return torch.zeros_like(weight).index_add(0, x, weight[x], alpha=2)


@case((6, 4), (6, 4), indices(5), becomes="unchanged")
def added_in_place_to_others(weight, others, x):
    return others.sin().index_add_(0, x, weight.index_select(0, x))


@case((6, 4), indices(5), becomes="unchanged")
def added_in_place_to_zeros_seen_before(weight, x):
    out = torch.zeros_like(weight)
    seen = out[:3]
    out.index_add_(0, x, weight[x])
    return seen.sin()


@case((6, 2, 3), indices(5), becomes="unchanged")
def added_rows_of_two_dimensions(weight, x):
    return torch.zeros_like(weight).index_add(0, x, weight[x])


@case((6, 4), indices(5), becomes="embedding")
def added_with_padding(weight, x):
    return torch.zeros_like(weight).index_add(0, x, F.embedding(x, weight, padding_idx=1))


@case((6, 4), indices(5), becomes="embedding")
def added_and_read(weight, x):
    read = weight[x]
    return torch.zeros_like(weight).index_add(0, x, read), read.sin()


@case((6, 4), indices(5), becomes="unchanged")
def added_after_a_barrier(weight, x):
    rows = weight.index_select(0, x)
    with torch.no_grad():
        return torch.zeros_like(weight).index_add(0, x, rows)


@case((6, 4), (6, 4), indices(5), becomes="embedding embedding")
def tables_that_need_each_other(first, second, x):
    start = F.embedding(x, first)
    return F.embedding(start.argmax(1), second)


@case((6, 4), (6, 4), indices(5), becomes="embedding embedding")
def tables_on_both_sides_of_a_barrier(first, second, x):
    start = F.embedding(x, first)
    with torch.no_grad():
        scale = start.amax()
    return start * scale + F.embedding(x, second)


@case(
    (6, 4),
    (6, 4),
    (6, 4),
    indices(5),
    becomes="embedding multi_embedding_list multi_embedding_list",
)
def tables_of_which_one_is_written_to(first, second, third, x):
    start = F.embedding(x, first)
    others = F.embedding(x, second) * F.embedding(x, third)
    start *= 2.0
    return start + others


@case((6, 4), (6, 3), indices(2, 3), becomes="embedding_bag embedding_bag")
def tables_of_unlike_bags(first, second, x):
    return F.embedding_bag(x, first, padding_idx=1), F.embedding_bag(x, second, mode="max")


@case((6, 4), (6, 3), indices(2, 3), becomes="embedding_bag embedding_bag")
def tables_with_and_without_gradient(first, second, x):
    return torch.cat([F.embedding_bag(x, first), F.embedding_bag(x, second.detach())], 1)


@case((6, 4), indices(5), indices(5), becomes="embedding embedding")
def ends_of_edges(nodes, sources, targets):
    return nodes[sources] - nodes[targets]
