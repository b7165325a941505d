"""Dynamo's graph before and after each rewrite, and where each declines, as literals.

``EXPECTTEST_ACCEPT=1 pytest tests/test_inductor_graphs.py`` writes them anew.
"""

from __future__ import annotations

import pytest
from inductor_cases import CASES
from inductor_graphs import look

expecttest = pytest.importorskip("expecttest")

pytestmark = pytest.mark.usefixtures("fresh_compiler")


def graph_of(name: str) -> str:
    case = CASES[name]
    graphs, report = look(case.function, case.make())
    notes = [f"{finding.lookup}: {note}" for finding in report.findings for note in finding.notes]
    return "\n".join([graphs, *notes])


def test_rows() -> None:
    expecttest.assert_expected_inline(
        graph_of("rows"),
        """\
a = embedding(x, weight)
return (a)
----
a = embed_ops.embedding(weight, x, -1, False)
return (a)""",
    )


def test_rows_with_options() -> None:
    expecttest.assert_expected_inline(
        graph_of("rows_with_options"),
        """\
a = embedding(x, weight, padding_idx=-2, scale_grad_by_freq=True)
return (a)
----
a = embed_ops.embedding(weight, x, 4, True)
return (a)""",
    )


def test_index_select() -> None:
    expecttest.assert_expected_inline(
        graph_of("index_select"),
        """\
a = weight.index_select(0, x)
b = mod(x, 4)
c = index_select(weight, 1, b)
return (a, c)
----
a = embed_ops.embedding(weight, x)
b = mod(x, 4)
c = index_select(weight, 1, b)
return (a, c)""",
    )


def test_getitem() -> None:
    expecttest.assert_expected_inline(
        graph_of("getitem"),
        """\
a = weight[x]
b = a.sin()
return (b)
----
a = add(x, 6)
b = lt(x, 0)
c = where(b, a, x)
d = embed_ops.embedding(weight, c)
e = d.sin()
return (e)""",
    )


def test_getitem_of_a_deep_table() -> None:
    expecttest.assert_expected_inline(
        graph_of("getitem_of_a_deep_table"),
        """\
a = weight[(x, ..., :)]
b = a.sin()
return (b)
----
a = add(x, 6)
b = lt(x, 0)
c = where(b, a, x)
d = flatten(weight, 1)
e = embed_ops.embedding(d, c)
f = unflatten(e, -1, (2, 3))
g = f.sin()
return (g)""",
    )


def test_bag() -> None:
    expecttest.assert_expected_inline(
        graph_of("bag"),
        """\
a = embedding_bag(x, weight)
return (a)
----
a = embed_ops.embedding_bag(weight, x, None, False, 'mean', None, False, -1)
b = a[0]
return (b)""",
    )


def test_bag_of_offsets() -> None:
    expecttest.assert_expected_inline(
        graph_of("bag_of_offsets"),
        """\
a = embedding_bag(x, weight, begin, mode='sum', per_sample_weights=weights, padding_idx=2)
return (a)
----
a = embed_ops.embedding_bag(weight, x, begin, False, 'sum', weights, False, 2)
b = a[0]
return (b)""",
    )


def test_bag_of_all_offsets() -> None:
    expecttest.assert_expected_inline(
        graph_of("bag_of_all_offsets"),
        """\
a = embedding_bag(x, weight, begin, mode='max', include_last_offset=True)
return (a)
----
a = embed_ops.embedding_bag(weight, x, begin, False, 'max', None, True, -1)
b = a[0]
return (b)""",
    )


def test_bag_of_single_rows() -> None:
    expecttest.assert_expected_inline(
        graph_of("bag_of_single_rows"),
        """\
a = embedding_bag(x, weight)
b = a.sin()
return (b)
----
a = select(x, 1, 0)
b = embed_ops.embedding(weight, a, -1, False)
c = b.sin()
return (c)""",
    )


def test_bag_of_single_weighted_rows() -> None:
    expecttest.assert_expected_inline(
        graph_of("bag_of_single_weighted_rows"),
        """\
a = embedding_bag(x, weight, mode='sum', per_sample_weights=weights)
return (a)
----
a = embed_ops.embedding_bag(weight, x, None, False, 'sum', weights, False, -1)
b = a[0]
return (b)""",
    )


def test_bag_of_single_rows_beside_rows() -> None:
    expecttest.assert_expected_inline(
        graph_of("bag_of_single_rows_beside_rows"),
        """\
a = embedding_bag(x, first)
b = embedding(y, second)
c = cat([a, b], 1)
return (c)
----
a = select(x, 1, 0)
b = stack([a, y], 1)
c = embed_ops.multi_embedding_list([first, second], b)
return (c)""",
    )


def test_pooled_sum() -> None:
    expecttest.assert_expected_inline(
        graph_of("pooled_sum"),
        """\
a = embedding(x, weight)
b = a.sum(1)
return (b)
----
a = embed_ops.embedding_bag(weight, x, None, False, 'sum', None, False, -1)
b = a[0]
return (b)""",
    )


def test_pooled_mean() -> None:
    expecttest.assert_expected_inline(
        graph_of("pooled_mean"),
        """\
a = embedding(x, weight)
b = mean(a, dim=-2, keepdim=True)
return (b)
----
a = embed_ops.embedding_bag(weight, x, None, False, 'mean', None, False, -1)
b = a[0]
c = unsqueeze(b, 1)
return (c)""",
    )


def test_pooled_over_the_first_dimension() -> None:
    expecttest.assert_expected_inline(
        graph_of("pooled_over_the_first_dimension"),
        """\
a = embedding(x, weight)
b = a.sum((0))
return (b)
----
a = movedim(x, 0, -1)
b = flatten(a, 0, -2)
c = embed_ops.embedding_bag(weight, b, None, False, 'sum', None, False, -1)
d = c[0]
e = unflatten(d, 0, [3, 2])
return (e)""",
    )


def test_pooled_to_one_row() -> None:
    expecttest.assert_expected_inline(
        graph_of("pooled_to_one_row"),
        """\
a = weight[x]
b = a.sum(0)
return (b)
----
a = add(x, 6)
b = lt(x, 0)
c = where(b, a, x)
d = unsqueeze(c, 0)
e = embed_ops.embedding_bag(weight, d, None, False, 'sum', None, False, -1)
f = e[0]
g = squeeze(f, 0)
return (g)""",
    )


def test_masked_mean() -> None:
    expecttest.assert_expected_inline(
        graph_of("masked_mean"),
        """\
a = ne(x, 0)
b = a.unsqueeze(-1)
c = b.float()
d = embedding(x, weight, padding_idx=0)
e = mul(d, c)
f = e.sum(1)
g = c.sum(1)
h = g.clamp(min=1)
i = truediv(f, h)
return (i)
----
a = ne(x, 0)
b = a.unsqueeze(-1)
c = b.float()
d = squeeze(c, -1)
e = embed_ops.embedding_bag(weight, x, None, False, 'sum', d, False, -1)
f = e[0]
g = c.sum(1)
h = g.clamp(min=1)
i = truediv(f, h)
return (i)""",
    )


def test_weighted_mean_of_all() -> None:
    expecttest.assert_expected_inline(
        graph_of("weighted_mean_of_all"),
        """\
a = embedding(x, weight)
b = mul(weights, a)
c = b.mean(1)
return (c)
----
a = squeeze(weights, -1)
b = broadcast_to(a, [2, 3])
c = embed_ops.embedding_bag(weight, x, None, False, 'sum', b, False, -1)
d = c[0]
e = div(d, 3)
return (e)""",
    )


def test_pooled_with_padding() -> None:
    expecttest.assert_expected_inline(
        graph_of("pooled_with_padding"),
        """\
a = embedding(x, weight, padding_idx=2)
b = weights[(..., None)]
c = mul(a, b)
d = c.mean(1)
return (d)
----
a = weights[(..., None)]
b = squeeze(a, -1)
c = embed_ops.embedding_bag(weight, x, None, False, 'sum', b, False, 2)
d = c[0]
e = eq(x, 2)
f = aten._to_copy(e, dtype=torch.float32)
g = mul(f, b)
h = sum(g, 1, True)
i = detach(weight)
j = select(i, 0, 2)
k = mul(h, j)
l = add(d, k)
m = div(l, 3)
return (m)""",
    )


def test_added_to_zeros() -> None:
    expecttest.assert_expected_inline(
        graph_of("added_to_zeros"),
        """\
a = zeros(65000, 16, device=cpu)
b = weight[sources]
c = a.index_add(0, targets, b)
return (c)
----
a = add(sources, 65536)
b = lt(sources, 0)
c = where(b, a, sources)
d = arange(262144, device=cpu)
e = embed_ops.transpose(targets, d, 65000)
f = e[1]
g = e[2]
h = embed_ops.offsets_from_row_ids(f, 65000, True)
i = index_select(c, 0, g)
j = embed_ops.embedding_bag(weight, i, h, False, 'sum', None, True, -1)
k = j[0]
return (k)""",
    )


def test_added_to_zeros_in_place() -> None:
    expecttest.assert_expected_inline(
        graph_of("added_to_zeros_in_place"),
        """\
a = weight.new_zeros(65000, 16)
b = weight.index_select(0, sources)
c = a.index_add_(0, targets, b)
d = a.relu_()
return (d)
----
a = arange(262144, device=cpu)
b = embed_ops.transpose(targets, a, 65000)
c = b[1]
d = b[2]
e = embed_ops.offsets_from_row_ids(c, 65000, True)
f = index_select(sources, 0, d)
g = embed_ops.embedding_bag(weight, f, e, False, 'sum', None, True, -1)
h = g[0]
i = h.relu_()
return (i)""",
    )


def test_added_to_others() -> None:
    expecttest.assert_expected_inline(
        graph_of("added_to_others"),
        """\
a = embedding(sources, weight)
b = targets.int()
c = index_add(input=others, dim=-2, index=b, source=a)
return (c)
----
a = targets.int()
b = arange(262144, device=cpu)
c = embed_ops.transpose(a, b, 65000)
d = c[1]
e = c[2]
f = embed_ops.offsets_from_row_ids(d, 65000, True)
g = index_select(sources, 0, e)
h = embed_ops.embedding_bag(weight, g, f, False, 'sum', None, True, -1)
i = h[0]
j = add(i, others)
return (j)""",
    )


def test_added_twice_along_the_same_edges() -> None:
    expecttest.assert_expected_inline(
        graph_of("added_twice_along_the_same_edges"),
        """\
a = x.double()
b = zeros_like(a)
c = a.index_select(0, sources)
d = b.index_add(0, targets, c)
e = d.relu_()
f = add(a, e)
g = zeros_like(f)
h = f.index_select(0, sources)
i = g.index_add_(0, targets, h)
return (i)
----
a = x.double()
b = arange(262144, device=cpu)
c = embed_ops.transpose(targets, b, 65536)
d = c[1]
e = c[2]
f = embed_ops.offsets_from_row_ids(d, 65536, True)
g = index_select(sources, 0, e)
h = embed_ops.embedding_bag(a, g, f, False, 'sum', None, True, -1)
i = h[0]
j = i.relu_()
k = add(a, j)
l = embed_ops.embedding_bag(k, g, f, False, 'sum', None, True, -1)
m = l[0]
return (m)""",
    )


def test_added_along_edges_that_change() -> None:
    expecttest.assert_expected_inline(
        graph_of("added_along_edges_that_change"),
        """\
a = x.detach()
b = a.double()
c = targets.clone()
d = zeros_like(b)
e = b.index_select(0, sources)
f = d.index_add(0, c, e)
g = c.zero_()
h = zeros_like(b)
i = b.index_select(0, sources)
j = h.index_add(0, c, i)
k = add(f, j)
return (k)
----
a = x.detach()
b = a.double()
c = targets.clone()
d = arange(262144, device=cpu)
e = embed_ops.transpose(c, d, 65536)
f = e[1]
g = e[2]
h = embed_ops.offsets_from_row_ids(f, 65536, True)
i = index_select(sources, 0, g)
j = embed_ops.embedding_bag(b, i, h, False, 'sum', None, True, -1)
k = j[0]
l = c.zero_()
m = arange(262144, device=cpu)
n = embed_ops.transpose(c, m, 65536)
o = n[1]
p = n[2]
q = embed_ops.offsets_from_row_ids(o, 65536, True)
r = index_select(sources, 0, p)
s = embed_ops.embedding_bag(b, r, q, False, 'sum', None, True, -1)
t = s[0]
u = add(k, t)
return (u)""",
    )


def test_tables_of_equal_bags() -> None:
    expecttest.assert_expected_inline(
        graph_of("tables_of_equal_bags"),
        """\
a = embedding_bag(x, first)
b = embedding_bag(y, second)
c = cat([a, b], 1)
return (c)
----
a = flatten(x)
b = flatten(y)
c = cat([a, b])
d = arange(5, dtype=torch.int64, device=cpu)
e = mul(d, 3)
f = embed_ops.multi_embedding_list([first, second], c, e, 'mean', None)
return (f)""",
    )


def test_tables_of_all_bags() -> None:
    expecttest.assert_expected_inline(
        graph_of("tables_of_all_bags"),
        """\
a = embedding_bag(y, third, begin_and_end, mode='sum', include_last_offset=True)
b = embedding_bag(y, second, begin, mode='sum')
c = embedding_bag(x, first, mode='sum')
d = b.sin()
e = cat([b, c, d, a], -1)
return (e)
----
a = flatten(x)
b = cat([y, a, y])
c = narrow(begin, 0, 0, 1)
d = eq(c, 0)
e = where(d, begin, -1)
f = arange(2, dtype=torch.int64, device=cpu)
g = mul(f, 4)
h = add(g, 5)
i = narrow(begin_and_end, 0, 0, 1)
j = eq(i, 0)
k = narrow(begin_and_end, 0, 0, 2)
l = narrow(begin_and_end, 0, 2, 1)
m = eq(l, 5)
n = logical_and(j, m)
o = add(k, 13)
p = where(n, o, -1)
q = full((1), 18, dtype=torch.int64, device=cpu)
r = cat([e, h, p, q])
s = embed_ops.multi_embedding_list([second, first, third], b, r, 'sum', None)
t = split(s, [3, 4, 2], -1)
u = t[0]
v = t[2]
w = u.sin()
x = narrow(s, -1, 0, 7)
y = cat([x, w, v], -1)
return (y)""",
    )


def test_tables_of_weighted_bags() -> None:
    expecttest.assert_expected_inline(
        graph_of("tables_of_weighted_bags"),
        """\
a = embedding_bag(x, first, mode='sum', per_sample_weights=weights)
b = embedding_bag(x, second, mode='sum', per_sample_weights=others)
c = cat([dense, a, b], 1)
return (c)
----
a = flatten(x)
b = flatten(x)
c = cat([a, b])
d = arange(5, dtype=torch.int64, device=cpu)
e = mul(d, 3)
f = flatten(weights)
g = flatten(others)
h = cat([f, g])
i = embed_ops.multi_embedding_list([first, second], c, e, 'sum', h)
j = cat([dense, i], -1)
return (j)""",
    )


def test_tables_of_single_rows() -> None:
    expecttest.assert_expected_inline(
        graph_of("tables_of_single_rows"),
        """\
a = embedding_bag(x, first)
b = embedding_bag(y, second)
c = cat([a, b], 1)
return (c)
----
a = cat([x, y], 1)
b = embed_ops.multi_embedding_list([first, second], a)
return (b)""",
    )


def test_tables_of_single_columns() -> None:
    expecttest.assert_expected_inline(
        graph_of("tables_of_single_columns"),
        """\
a = x[(:, -2:-1)]
b = embedding_bag(a, first, mode='sum')
c = x[(:, 2:)]
d = embedding_bag(c, second, mode='sum')
e = cat([b, d], 1)
return (e)
----
a = narrow(x, 1, 1, 2)
b = embed_ops.multi_embedding_list([first, second], a)
return (b)""",
    )


def test_tables_of_single_rows_and_bags() -> None:
    expecttest.assert_expected_inline(
        graph_of("tables_of_single_rows_and_bags"),
        """\
a = embedding_bag(x, first)
b = embedding_bag(y, second)
c = cat([a, b], 1)
return (c)
----
a = flatten(x)
b = flatten(y)
c = cat([a, b])
d = arange(5, dtype=torch.int64, device=cpu)
e = mul(d, 1)
f = arange(5, dtype=torch.int64, device=cpu)
g = mul(f, 2)
h = add(g, 5)
i = full((1), 15, dtype=torch.int64, device=cpu)
j = cat([e, h, i])
k = embed_ops.multi_embedding_list([first, second], c, j, 'mean', None)
return (k)""",
    )


def test_tables_of_columns() -> None:
    expecttest.assert_expected_inline(
        graph_of("tables_of_columns"),
        """\
a = x[(:, 0)]
b = embedding(a, first)
c = x[(:, 1)]
d = embedding(c, second)
e = cat([b, d], 1)
return (e)
----
a = embed_ops.multi_embedding_list([first, second], x)
return (a)""",
    )


def test_tables_of_some_columns() -> None:
    expecttest.assert_expected_inline(
        graph_of("tables_of_some_columns"),
        """\
a = x[(:, 1)]
b = embedding(a, first)
c = x[(:, 2)]
d = embedding(c, second)
e = mul(b, d)
return (e)
----
a = narrow(x, 1, 1, 2)
b = embed_ops.multi_embedding_list([first, second], a)
c = split(b, [4, 4], -1)
d = c[0]
e = c[1]
f = mul(d, e)
return (f)""",
    )


def test_tables_of_sequences() -> None:
    expecttest.assert_expected_inline(
        graph_of("tables_of_sequences"),
        """\
a = embedding(y, second)
b = embedding(x, first)
c = concat((a, b), dim=2)
return (c)
----
a = flatten(y)
b = flatten(x)
c = stack([a, b], 1)
d = embed_ops.multi_embedding_list([second, first], c)
e = unflatten(d, 0, [2, 3])
return (e)""",
    )


def test_tables_used_before_all_are_looked_up() -> None:
    expecttest.assert_expected_inline(
        graph_of("tables_used_before_all_are_looked_up"),
        """\
a = embedding(x, first)
b = a.cos()
c = sub(5, y)
d = embedding(c, second)
e = cat([b, d], 1)
return (e)
----
a = sub(5, y)
b = stack([a, x], 1)
c = embed_ops.multi_embedding_list([second, first], b)
d = split(c, [3, 4], -1)
e = d[0]
f = d[1]
g = f.cos()
h = cat([g, e], -1)
return (h)""",
    )


def test_pooled_tables() -> None:
    expecttest.assert_expected_inline(
        graph_of("pooled_tables"),
        """\
a = embedding(x, first)
b = a.sum(1)
c = embedding(x, second)
d = c.sum(1)
e = cat([b, d], 1)
return (e)
----
a = flatten(x)
b = flatten(x)
c = cat([a, b])
d = arange(5, dtype=torch.int64, device=cpu)
e = mul(d, 3)
f = embed_ops.multi_embedding_list([first, second], c, e, 'sum', None)
return (f)""",
    )


def test_rows_of_max_norm() -> None:
    expecttest.assert_expected_inline(
        graph_of("rows_of_max_norm"),
        """\
a = weight.detach()
b = embedding(x, a, max_norm=1.0)
return (b)
embedding: max_norm edits the table""",
    )


def test_rows_with_sparse_gradient() -> None:
    expecttest.assert_expected_inline(
        graph_of("rows_with_sparse_gradient"),
        """\
a = weight.detach()
b = embedding(x, a, sparse=True)
return (b)
embedding: sparse=True""",
    )


def test_rows_of_integers() -> None:
    expecttest.assert_expected_inline(
        graph_of("rows_of_integers"),
        """\
a = embedding(x, weight)
return (a)
embedding: the table's dtype is int64""",
    )


def test_getitem_of_a_mask() -> None:
    expecttest.assert_expected_inline(
        graph_of("getitem_of_a_mask"),
        """\
a = weight[:5]
b = mask[(:, None)]
c = mul(a, b)
return (c)""",
    )


def test_getitem_of_numbers() -> None:
    expecttest.assert_expected_inline(
        graph_of("getitem_of_numbers"),
        """\
a = weight[x]
return (a)
x[index]: the table has 1 dimension""",
    )


def test_getitem_without_gradient() -> None:
    expecttest.assert_expected_inline(
        graph_of("getitem_without_gradient"),
        """\
a = weight.detach()
b = a[x]
return (b)
x[index]: no gradient: Inductor's gather""",
    )


def test_index_select_of_one_number() -> None:
    expecttest.assert_expected_inline(
        graph_of("index_select_of_one_number"),
        """\
a = weight.index_select(0, x)
return (a)
index_select: the index is a single number""",
    )


def test_getitem_of_a_scattered_table() -> None:
    expecttest.assert_expected_inline(
        graph_of("getitem_of_a_scattered_table"),
        """\
a = weight.transpose(1, 2)
b = a[x]
return (b)
x[index]: flattening the table's rows would copy it""",
    )


def test_getitem_under_vmap() -> None:
    expecttest.assert_expected_inline(
        graph_of("getitem_under_vmap"),
        """\
a = lazy_load_decompositions()
b = _vmap_increment_nesting(5, 'error')
c = _add_batch_dim(x, 0, 1)
d = c.unsqueeze(0)
e = weight[d]
f = _remove_batch_dim(e, 1, 5, 0)
g = _vmap_decrement_nesting()
return (f)
x[index]: inside a torch.func transform""",
    )


def test_pooled_and_read() -> None:
    expecttest.assert_expected_inline(
        graph_of("pooled_and_read"),
        """\
a = embedding(x, weight)
b = a.sum(1)
c = a[(:, 0)]
d = add(b, c)
return (d)
----
a = embed_ops.embedding(weight, x, -1, False)
b = a.sum(1)
c = a[(:, 0)]
d = add(b, c)
return (d)
embedding: not pooled: something else reads the rows""",
    )


def test_pooled_with_other_factors() -> None:
    expecttest.assert_expected_inline(
        graph_of("pooled_with_other_factors"),
        """\
a = embedding(x, weight)
b = mul(a, factors)
c = b.sum(1)
return (c)
----
a = embed_ops.embedding(weight, x, -1, False)
b = mul(a, factors)
c = b.sum(1)
return (c)
embedding: not pooled: multiplied by something else than a weight for each lookup""",
    )


def test_pooled_in_another_dtype() -> None:
    expecttest.assert_expected_inline(
        graph_of("pooled_in_another_dtype"),
        """\
a = embedding(x, weight)
b = a.sum(1, dtype=torch.float64)
return (b)
----
a = embed_ops.embedding(weight, x, -1, False)
b = a.sum(1, dtype=torch.float64)
return (b)
embedding: not pooled: the sum has another dtype""",
    )


def test_added_but_few() -> None:
    expecttest.assert_expected_inline(
        graph_of("added_but_few"),
        """\
a = zeros_like(weight)
b = weight.index_select(0, x)
c = a.index_add(0, x, b)
return (c)
index_select: Inductor fuses it with index_add: 5 rows of 4 elements are not worth sorting""",
    )


def test_added_but_short() -> None:
    expecttest.assert_expected_inline(
        graph_of("added_but_short"),
        """\
a = zeros_like(weight)
b = weight.index_select(0, x)
c = a.index_add(0, x, b)
return (c)
index_select: Inductor fuses it with index_add: 524288 rows of 8 elements are not worth sorting""",
    )


def test_added_under_vmap() -> None:
    expecttest.assert_expected_inline(
        graph_of("added_under_vmap"),
        """\
a = lazy_load_decompositions()
b = _vmap_increment_nesting(2, 'error')
c = _add_batch_dim(targets, 0, 1)
d = zeros_like(weight)
e = weight.index_select(0, x)
f = d.index_add(0, c, e)
g = _remove_batch_dim(f, 1, 2, 0)
h = _vmap_decrement_nesting()
return (g)
index_select: Inductor fuses it with index_add: a tensor subclass or in a torch.func transform""",
    )


def test_added_with_a_factor() -> None:
    expecttest.assert_expected_inline(
        graph_of("added_with_a_factor"),
        """\
a = zeros_like(weight)
b = weight[x]
c = a.index_add(0, x, b, alpha=2)
return (c)
x[index]: Inductor fuses it with index_add: alpha""",
    )


def test_added_in_place_to_others() -> None:
    expecttest.assert_expected_inline(
        graph_of("added_in_place_to_others"),
        """\
a = others.sin()
b = weight.index_select(0, x)
c = a.index_add_(0, x, b)
return (c)
index_select: Inductor fuses it with index_add: added in place to more than fresh zeros""",
    )


def test_added_in_place_to_zeros_seen_before() -> None:
    expecttest.assert_expected_inline(
        graph_of("added_in_place_to_zeros_seen_before"),
        """\
a = zeros_like(weight)
b = a[:3]
c = weight[x]
d = a.index_add_(0, x, c)
e = b.sin()
return (e)
x[index]: Inductor fuses it with index_add: added in place to more than fresh zeros""",
    )


def test_added_rows_of_two_dimensions() -> None:
    expecttest.assert_expected_inline(
        graph_of("added_rows_of_two_dimensions"),
        """\
a = zeros_like(weight)
b = weight[x]
c = a.index_add(0, x, b)
return (c)
x[index]: Inductor fuses it with index_add: rows of 2 dimensions""",
    )


def test_added_with_padding() -> None:
    expecttest.assert_expected_inline(
        graph_of("added_with_padding"),
        """\
a = zeros_like(weight)
b = embedding(x, weight, padding_idx=1)
c = a.index_add(0, x, b)
return (c)
----
a = zeros_like(weight)
b = embed_ops.embedding(weight, x, 1, False)
c = a.index_add(0, x, b)
return (c)
embedding: not summed by target: padding_idx or scale_grad_by_freq""",
    )


def test_added_and_read() -> None:
    expecttest.assert_expected_inline(
        graph_of("added_and_read"),
        """\
a = weight[x]
b = zeros_like(weight)
c = b.index_add(0, x, a)
d = a.sin()
return (c, d)
----
a = add(x, 6)
b = lt(x, 0)
c = where(b, a, x)
d = embed_ops.embedding(weight, c)
e = zeros_like(weight)
f = e.index_add(0, x, d)
g = d.sin()
return (f, g)
x[index]: not summed by target: something else reads the rows""",
    )


def test_added_after_a_barrier() -> None:
    expecttest.assert_expected_inline(
        graph_of("added_after_a_barrier"),
        """\
a = weight.index_select(0, x)
b = _set_grad_enabled(False)
c = zeros_like(weight)
d = c.index_add(0, x, a)
e = _set_grad_enabled(True)
return (d)
index_select: Inductor fuses it with index_add: a write or a change of mode in between""",
    )


def test_tables_that_need_each_other() -> None:
    expecttest.assert_expected_inline(
        graph_of("tables_that_need_each_other"),
        """\
a = embedding(x, first)
b = a.argmax(1)
c = embedding(b, second)
return (c)
----
a = embed_ops.embedding(first, x, -1, False)
b = a.argmax(1)
c = embed_ops.embedding(second, b, -1, False)
return (c)
embedding: not grouped: no other like it
embedding: not grouped: no other like it""",
    )


def test_tables_on_both_sides_of_a_barrier() -> None:
    expecttest.assert_expected_inline(
        graph_of("tables_on_both_sides_of_a_barrier"),
        """\
a = embedding(x, first)
b = _set_grad_enabled(False)
c = a.amax()
d = _set_grad_enabled(True)
e = mul(a, c)
f = embedding(x, second)
g = add(e, f)
return (g)
----
a = embed_ops.embedding(first, x, -1, False)
b = _set_grad_enabled(False)
c = a.amax()
d = _set_grad_enabled(True)
e = mul(a, c)
f = embed_ops.embedding(second, x, -1, False)
g = add(e, f)
return (g)
embedding: not grouped: no other like it
embedding: not grouped: no other like it""",
    )


def test_tables_of_which_one_is_written_to() -> None:
    expecttest.assert_expected_inline(
        graph_of("tables_of_which_one_is_written_to"),
        """\
a = embedding(x, first)
b = embedding(x, second)
c = embedding(x, third)
d = mul(b, c)
e = imul(a, 2.0)
f = add(e, d)
return (f)
----
a = embed_ops.embedding(first, x, -1, False)
b = stack([x, x], 1)
c = embed_ops.multi_embedding_list([second, third], b)
d = split(c, [4, 4], -1)
e = d[0]
f = d[1]
g = mul(e, f)
h = imul(a, 2.0)
i = add(h, g)
return (i)
embedding: not grouped: no other like it""",
    )


def test_tables_of_unlike_bags() -> None:
    expecttest.assert_expected_inline(
        graph_of("tables_of_unlike_bags"),
        """\
a = embedding_bag(x, first, padding_idx=1)
b = embedding_bag(x, second, mode='max')
return (a, b)
----
a = embed_ops.embedding_bag(first, x, None, False, 'mean', None, False, 1)
b = a[0]
c = embed_ops.embedding_bag(second, x, None, False, 'max', None, False, -1)
d = c[0]
return (b, d)
embedding_bag mean: not grouped: padding_idx
embedding_bag max: not grouped: mode max""",
    )


def test_tables_with_and_without_gradient() -> None:
    expecttest.assert_expected_inline(
        graph_of("tables_with_and_without_gradient"),
        """\
a = embedding_bag(x, first)
b = second.detach()
c = embedding_bag(x, b)
d = cat([a, c], 1)
return (d)
----
a = embed_ops.embedding_bag(first, x, None, False, 'mean', None, False, -1)
b = a[0]
c = second.detach()
d = embed_ops.embedding_bag(c, x, None, False, 'mean', None, False, -1)
e = d[0]
f = cat([b, e], 1)
return (f)
embedding_bag mean: not grouped: no other like it
embedding_bag mean: not grouped: no other like it""",
    )


def test_ends_of_edges() -> None:
    expecttest.assert_expected_inline(
        graph_of("ends_of_edges"),
        """\
a = nodes[sources]
b = nodes[targets]
c = sub(a, b)
return (c)
----
a = add(sources, 6)
b = lt(sources, 0)
c = where(b, a, sources)
d = embed_ops.embedding(nodes, c)
e = add(targets, 6)
f = lt(targets, 0)
g = where(f, e, targets)
h = embed_ops.embedding(nodes, g)
i = sub(d, h)
return (i)
x[index]: not grouped: fuses better alone
x[index]: not grouped: fuses better alone""",
    )


def test_own_rows_pooled() -> None:
    expecttest.assert_expected_inline(
        graph_of("own_rows_pooled"),
        """\
a = embed_ops.embedding(weight, x, -1, False)
b = a.sum(1)
return (b)
----
a = embed_ops.embedding_bag(weight, x, None, False, 'sum', None, False, -1)
b = a[0]
return (b)""",
    )


def test_own_bags_together() -> None:
    expecttest.assert_expected_inline(
        graph_of("own_bags_together"),
        """\
a = embed_ops.embedding_bag(first, x, None, False, 'mean', None, False, -1)
b = a[0]
c = embed_ops.embedding_bag(second, x, None, False, 'mean', None, False, -1)
d = c[0]
e = cat([b, d], 1)
return (e)
----
a = flatten(x)
b = flatten(x)
c = cat([a, b])
d = arange(5, dtype=torch.int64, device=cpu)
e = mul(d, 3)
f = embed_ops.multi_embedding_list([first, second], c, e, 'mean', None)
return (f)""",
    )


def test_own_rows_under_vmap() -> None:
    expecttest.assert_expected_inline(
        graph_of("own_rows_under_vmap"),
        """\
a = lazy_load_decompositions()
b = _vmap_increment_nesting(2, 'error')
c = _add_batch_dim(x, 0, 1)
d = embed_ops.embedding(weight, c, -1, False)
e = d.sum(0)
f = _remove_batch_dim(e, 1, 2, 0)
g = _vmap_decrement_nesting()
return (f)""",
    )


def test_pooled_after_a_barrier() -> None:
    expecttest.assert_expected_inline(
        graph_of("pooled_after_a_barrier"),
        """\
a = x.clone()
b = weight.detach()
c = embedding(a, b)
d = a.zero_()
e = c.sum(1)
f = weight.sum()
g = add(e, f)
return (g)
----
a = x.clone()
b = weight.detach()
c = embed_ops.embedding(b, a, -1, False)
d = a.zero_()
e = c.sum(1)
f = weight.sum()
g = add(e, f)
return (g)
embedding: not pooled: something may be written to, or the mode changes, in between""",
    )


def test_tables_joined_without_gradient() -> None:
    expecttest.assert_expected_inline(
        graph_of("tables_joined_without_gradient"),
        """\
a = embedding(x, first)
b = embedding(x, second)
c = _set_grad_enabled(False)
d = cat([a, b], 1)
e = _set_grad_enabled(True)
f = a.sin()
g = f.sum(1)
h = b.cos()
i = h.sum(1)
j = mul(g, i)
k = d.sum(1)
l = mul(j, k)
return (l)
----
a = stack([x, x], 1)
b = embed_ops.multi_embedding_list([first, second], a)
c = split(b, [4, 3], -1)
d = c[0]
e = c[1]
f = _set_grad_enabled(False)
g = cat([d, e], 1)
h = _set_grad_enabled(True)
i = d.sin()
j = i.sum(1)
k = e.cos()
l = k.sum(1)
m = mul(j, l)
n = g.sum(1)
o = mul(m, n)
return (o)""",
    )


def test_tables_joined_and_written_to() -> None:
    expecttest.assert_expected_inline(
        graph_of("tables_joined_and_written_to"),
        """\
a = embedding(x, first)
b = embedding(x, second)
c = cat([a, b], 1)
d = c.mul_(2.0)
e = a.sin()
return (c, e)
----
a = stack([x, x], 1)
b = embed_ops.multi_embedding_list([first, second], a)
c = split(b, [4, 3], -1)
d = c[0]
e = c[1]
f = cat([d, e], 1)
g = f.mul_(2.0)
h = d.sin()
return (f, h)""",
    )


def test_tables_joined_and_returned() -> None:
    expecttest.assert_expected_inline(
        graph_of("tables_joined_and_returned"),
        """\
a = embedding(x, first)
b = embedding(x, second)
c = cat([a, b], 1)
return (c, a)
----
a = stack([x, x], 1)
b = embed_ops.multi_embedding_list([first, second], a)
c = split(b, [4, 3], -1)
d = c[0]
e = c[1]
f = clone(d, memory_format=torch.contiguous_format)
g = cat([d, e], 1)
return (g, f)""",
    )


def test_index_select_without_gradient() -> None:
    expecttest.assert_expected_inline(
        graph_of("index_select_without_gradient"),
        """\
a = weight.detach()
b = index_select(a, dim=-2, index=x)
return (b)
----
a = weight.detach()
b = embed_ops.embedding(a, x)
return (b)""",
    )
