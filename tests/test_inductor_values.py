"""Every rewrite leaves outputs and gradients as they are, static and dynamic, on every device.

Each case goes through AOTAutograd after its rewrites, which is quick; whole models, with one of
everything, through backend "embed_ops" itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from inductor_cases import CASES, Case
from inductor_graphs import Rewriting
from torch import Tensor, nn
from torch.nn import functional as F

import embed_ops
from embed_ops.inductor import backend

pytestmark = pytest.mark.usefixtures("fresh_compiler")


def outputs_and_gradients(function: Callable[..., Any], inputs: Any) -> Any:
    leaves = [x for x in inputs if isinstance(x, Tensor) and x.requires_grad]
    if isinstance(function, nn.Module):
        leaves += function.parameters()
    result = function(*inputs)
    outputs = [result] if isinstance(result, Tensor) else list(result)
    torch.manual_seed(1)
    total = sum((out * torch.randn_like(out)).sum() for out in outputs if out.requires_grad)
    gradients: Any = ()
    if isinstance(total, Tensor) and leaves:
        gradients = torch.autograd.grad(total, leaves, allow_unused=True)
    return [*(out.detach() for out in outputs), *gradients]


def assert_same(compiled: Callable[..., Any], eager: Callable[..., Any], inputs: Any) -> None:
    torch.testing.assert_close(
        outputs_and_gradients(compiled, inputs), outputs_and_gradients(eager, inputs)
    )


@pytest.mark.parametrize("dynamic", [False, True], ids=["static", "dynamic"])
@pytest.mark.parametrize("case", CASES.values(), ids=str)
def test_case(case: Case, dynamic: bool, device: str) -> None:
    rewriting = Rewriting()
    compiled = torch.compile(case.function, backend=rewriting, fullgraph=True, dynamic=dynamic)
    assert_same(compiled, case.function, case.make(device))
    assert rewriting.became == case.becomes


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64], ids=str)
@pytest.mark.parametrize("name", ["masked_mean", "pooled_with_padding", "tables_of_equal_bags"])
def test_other_dtypes(name: str, dtype: torch.dtype, device: str) -> None:
    function = CASES[name].function
    inputs = [
        x.detach().to(dtype).requires_grad_() if x.is_floating_point() else x.int()
        for x in CASES[name].make(device)
    ]
    compiled = torch.compile(function, backend=Rewriting(), fullgraph=True)
    actual, expected = (outputs_and_gradients(f, inputs) for f in (compiled, function))
    tolerance = {"rtol": 2e-2, "atol": 2e-2} if dtype == torch.bfloat16 else {}
    torch.testing.assert_close(actual, expected, **tolerance)


class Recommender(nn.Module):
    """Bags of tables of different widths, single lookups, pooling with and without a mask."""

    def __init__(self) -> None:
        super().__init__()
        self.bags = nn.ModuleList(
            nn.EmbeddingBag(20 + t, width, mode="sum") for t, width in enumerate((4, 8, 4))
        )
        self.categories = nn.ModuleList(nn.Embedding(7, width) for width in (3, 5))
        self.history = nn.Embedding(20, 16, padding_idx=0)
        self.top = nn.Linear(16 + 8 + 16 + 16, 1)

    def forward(self, bags: Tensor, begin: Tensor, categories: Tensor, history: Tensor) -> Tensor:
        pooled = [self.bags[0](bags.reshape(begin.shape[0], -1)), self.bags[1](bags, begin)]
        pooled.append(self.bags[2](bags, begin))
        single = [table(categories[:, t]) for t, table in enumerate(self.categories)]
        mask = (history != 0).unsqueeze(-1)
        masked = (self.history(history) * mask).sum(1) / mask.sum(1).clamp(min=1)
        plain = self.history(history).mean(1)
        return self.top(F.relu(torch.cat([*pooled, *single, masked, plain], 1)))

    @staticmethod
    def inputs(batch: int, device: str) -> tuple[Tensor, ...]:
        begin = torch.arange(batch, device=device) * 3
        begin[1] = 0
        return (
            torch.randint(20, (batch * 4,), device=device),
            begin,
            torch.randint(7, (batch, 2), device=device),
            torch.randint(20, (batch, 6), device=device),
        )


class Graph(nn.Module):
    """Single rows that fuse with what reads them, of tables and of activations."""

    def __init__(self) -> None:
        super().__init__()
        self.nodes, self.kinds = nn.Embedding(30, 16), nn.Embedding(5, 16, padding_idx=1)
        self.layer = nn.Linear(16, 16)

    def forward(self, kinds: Tensor, sources: Tensor, targets: Tensor) -> Tensor:
        positions = torch.arange(kinds.shape[0], device=kinds.device)
        x = F.relu(self.layer(self.nodes(positions) + self.kinds(kinds)))
        sent = F.relu(x.index_select(0, sources) - x[targets])
        return torch.zeros_like(x).index_add(0, targets % x.shape[0], sent)

    @staticmethod
    def inputs(batch: int, device: str) -> tuple[Tensor, ...]:
        nodes = batch + 3
        return (
            torch.randint(5, (nodes,), device=device),
            torch.randint(nodes, (4 * batch,), device=device),
            torch.randint(-nodes, nodes, (4 * batch,), device=device),
        )


class Messages(nn.Module):
    """Layers that add up, at the target of each edge, what its source sends; long sums."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(16, 16, dtype=torch.float64) for _ in range(2))

    def forward(self, x: Tensor, sources: Tensor, targets: Tensor) -> Tensor:
        for layer in self.layers:
            sent = layer(x).index_select(0, sources)
            x = x + torch.zeros_like(x).index_add(0, targets, sent).relu()
            received = x.new_zeros(x.shape)
            received.index_add_(0, targets, layer(x).index_select(0, sources))
            x = x + received.relu()
        return x

    @staticmethod
    def inputs(batch: int, device: str) -> tuple[Tensor, ...]:
        nodes, edges = 1000 * batch, 2**18 + batch
        return (
            torch.randn(nodes, 16, dtype=torch.float64, device=device),
            torch.randint(nodes, (edges,), device=device),
            torch.randint(nodes, (edges,), device=device),
        )


@pytest.mark.parametrize("dynamic", [None, True], ids=["static", "dynamic"])
@pytest.mark.parametrize("model", [Recommender, Graph, Messages])
def test_inductor(
    model: type[Recommender | Graph | Messages], dynamic: bool | None, device: str
) -> None:
    module = model().to(device)
    compiled = torch.compile(module, backend=backend, fullgraph=True, dynamic=dynamic)
    # A dynamic graph serves every size.
    for number, batch in enumerate((5, 8, 13) if dynamic else (5,)):
        with torch._dynamo.config.patch(error_on_recompile=number > 0):
            assert_same(compiled, module, model.inputs(batch, device))


@pytest.mark.parametrize("bad", [30, -1])
def test_an_index_out_of_range(bad: int, device: str) -> None:
    """Never wrapped, never read: an error as in eager code, and a row of zeros without it."""
    table = nn.Embedding(30, 16, device=device)
    compiled = torch.compile(lambda x: table(x).sin(), backend=backend, fullgraph=True)
    indices = torch.arange(12, device=device).reshape(3, 4)
    assert_same(compiled, lambda x: table(x).sin(), (indices,))
    indices[1, 1] = bad
    text = rf"embed_ops::embedding: indices: expected values in \[0, 30\), got {bad} at position 5"
    with pytest.raises(IndexError, match=text):
        compiled(indices)
        embed_ops.check_errors()
    with embed_ops.bounds_check("ignore"):
        rows = compiled(indices)
    expected = table(indices.clamp(0, 29)).sin()
    expected[1, 1] = 0
    torch.testing.assert_close(rows, expected)


@pytest.mark.parametrize("bad", [-1, 5000])
@pytest.mark.parametrize("end", ["source", "target"])
def test_an_edge_out_of_range(end: str, bad: int, device: str) -> None:
    """An error as from index_add, and without it an edge that counts for nothing."""
    module = Messages().to(device)
    x, sources, targets = Messages.inputs(5, device)
    compiled = torch.compile(module, backend=Rewriting(), fullgraph=True)
    (sources if end == "source" else targets)[7] = bad
    with pytest.raises(IndexError, match=rf"expected values in \[0, 5000\), got {bad} at position"):
        compiled(x, sources, targets)
        embed_ops.check_errors()
    with embed_ops.bounds_check("ignore"):
        result = compiled(x, sources, targets)
    others = torch.arange(sources.shape[0], device=device) != 7
    torch.testing.assert_close(result, module(x, sources[others], targets[others]))


def test_rows_of_another_dtype_are_not_added(device: str) -> None:
    """The fake kernel of index_add lets them pass; its error must not be lost."""
    _, sources, targets = Messages.inputs(5, device)
    table = torch.randn(5000, 16, device=device)

    def model(x: Tensor) -> Tensor:
        return x.index_add(0, targets, table.index_select(0, sources))

    compiled = torch.compile(model, backend=Rewriting(), fullgraph=True)
    with pytest.raises(RuntimeError, match="same scalar type"):
        compiled(torch.zeros(5000, 16, dtype=torch.float64, device=device))


def into_a_buffer(x: Tensor, sources: Tensor, targets: Tensor) -> Tensor:
    x = x.detach()
    chosen, sums = x.new_empty(sources.shape[0], 16), x.new_empty(x.shape)
    torch.index_select(x, 0, sources, out=chosen)
    torch.index_add(torch.zeros_like(x), 0, targets, x.index_select(0, sources), out=sums)
    return torch.cat([chosen, sums])


def into_the_rows_themselves(x: Tensor, sources: Tensor, targets: Tensor) -> Tensor:
    rows = x.index_select(0, sources)
    return rows.index_add(0, targets, rows)


def first_in_inference_mode(x: Tensor, sources: Tensor, targets: Tensor) -> Tensor:
    with torch.inference_mode():
        torch.zeros_like(x).index_add(0, targets, x.index_select(0, sources))
    return torch.zeros_like(x).index_add(0, targets, x.index_select(0, sources))


def into_columns(x: Tensor, sources: Tensor, targets: Tensor) -> Tensor:
    columns = torch.zeros(16, 5000, dtype=x.dtype, device=x.device).t()
    return columns.index_add(0, targets, x.index_select(0, sources)).view(-1)


@pytest.mark.parametrize(
    "model", [into_a_buffer, into_the_rows_themselves, first_in_inference_mode, into_columns]
)
def test_additions_that_are_more_than_a_sum(model: Callable[..., Tensor], device: str) -> None:
    x, sources, targets = Messages.inputs(5, device)
    compiled = torch.compile(model, backend=Rewriting(), fullgraph=True)
    assert_same(compiled, model, (x.requires_grad_(), sources, targets))


def test_who_sees_the_strides_of_a_group_finds_them_as_in_eager_code(device: str) -> None:
    tables = [torch.randn(50, width, device=device) for width in (4, 8)]
    indices = [torch.randint(50, (60, 1), device=device) for _ in tables]

    def model(*x: Tensor) -> list[Tensor]:
        bags = [F.embedding_bag(i, w, mode="sum") for i, w in zip(x, tables, strict=True)]
        return [*bags, *(bag.view(-1) for bag in bags)]

    compiled = torch.compile(model, backend=Rewriting(), fullgraph=True)
    for got, wanted in zip(compiled(*indices), model(*indices), strict=True):
        torch.testing.assert_close(got, wanted)
        assert got.stride() == wanted.stride()


def test_results_of_a_group_do_not_share_memory(device: str) -> None:
    case = CASES["tables_joined_and_returned"]
    compiled = torch.compile(case.function, backend=Rewriting(), fullgraph=True)
    inputs = case.make(device)
    together, first = compiled(*inputs)
    first.mul_(2.0)
    torch.testing.assert_close(together, case.function(*inputs)[0])


def test_an_index_out_of_range_of_a_group(device: str) -> None:
    case = CASES["tables_of_columns"]
    compiled = torch.compile(case.function, backend=Rewriting(), fullgraph=True)
    first, second, x = case.make(device)
    x[3, 1] = 6
    with pytest.raises(IndexError, match=r"expected values in \[0, 6\), got 6 at position 7"):
        compiled(first, second, x)
        embed_ops.check_errors()


@pytest.mark.parametrize("begin", [(1, 4), (0, 4), (0, 4, 4), (1, 4, 5)], ids=str)
def test_wrong_offsets_are_found_in_a_group(begin: tuple[int, ...], device: str) -> None:
    """Put behind those of another table they would look right."""
    is_right = begin == (0, 4)
    last = len(begin) == 3

    def model(first: Tensor, second: Tensor, x: Tensor, begin: Tensor) -> Tensor:
        flat = x.flatten()[:5]
        bags = F.embedding_bag(flat, second, begin, mode="sum", include_last_offset=last)
        return torch.cat([F.embedding_bag(x, first, mode="sum"), bags], 1)

    compiled = torch.compile(model, backend=Rewriting(), fullgraph=True)
    inputs = *CASES["tables_of_equal_bags"].make(device)[:3], torch.tensor(begin, device=device)
    if is_right:
        assert_same(compiled, model, inputs)
        return
    with pytest.raises(IndexError, match="offsets"):
        compiled(*inputs)
        embed_ops.check_errors()
