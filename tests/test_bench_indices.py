"""The makers of indices, against the formulas that they claim to follow."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Generator, Tensor

from bench import indices
from bench.suites import SUITES, Context
from bench.suites.cuembed import LAYOUTS, bags
from bench.suites.fast_multi_embedding import TABLE_SETS, multi_indices
from bench.suites.odd_widths import OPS as ODD_OPS
from bench.suites.odd_widths import width_of

BAGS = {"rows": 500, "batch": 40, "hotness": 6, "alpha": 1.05}
OTHERS = ("itself", "below", "above", "unaligned")


@pytest.fixture
def generator() -> Generator:
    return torch.Generator().manual_seed(7)


@pytest.mark.parametrize("distribution", indices.DISTRIBUTIONS)
@pytest.mark.parametrize(("rows", "count"), [(1, 1), (1, 64), (10, 33), (1000, 4096)])
def test_rows_exist_and_repeat_with_the_seed(distribution: str, rows: int, count: int) -> None:
    make = indices.DISTRIBUTIONS[distribution]
    first, second = (make(rows, count, torch.Generator().manual_seed(3)) for _ in range(2))
    assert first.shape == (count,)
    assert first.dtype == torch.int64
    assert int(first.min()) >= 0
    assert int(first.max()) < rows
    assert torch.equal(first, second)


def test_uniform_is_uniform(generator: Generator) -> None:
    counts = indices.uniform(8, 80_000, generator).bincount(minlength=8)
    assert ((counts - 10_000).abs() < 500).all()


def test_half_pow_k_halves_exactly(generator: Generator) -> None:
    drawn = indices.half_pow_k(1000, 32, generator)
    # 16, 8, 4, 2 and 1, and the one left over names row 0.
    assert drawn.bincount().tolist() == [17, 8, 4, 2, 1]
    assert not torch.equal(drawn, drawn.sort().values)


def test_half_pow_k_ends_at_the_last_row(generator: Generator) -> None:
    assert indices.half_pow_k(3, 32, generator).bincount().tolist() == [17, 8, 7]


def test_same_index_is_one_row(generator: Generator) -> None:
    assert indices.same_index(1000, 64, generator).unique().numel() == 1


def test_half_binomial_has_both_halves(generator: Generator) -> None:
    rows, count = 1001, 40_000
    drawn = indices.half_binomial(rows, count, generator)
    # binomial(1000, 0.99): mean 990, standard deviation 3.15. A uniform half falls below 970.
    binomial = drawn[drawn >= 970].double()
    below = int((drawn < 970).sum())
    assert abs(below - count / 2 * 970 / rows) < 500
    assert abs(float(binomial.median()) - 990) <= 1
    assert int((drawn == 990).sum()) > 0.1 * count / 2


def test_fifth_same_begins_with_row_0(generator: Generator) -> None:
    drawn = indices.fifth_same(1000, 500, generator)
    assert not drawn[:100].any()
    assert drawn[100:].unique().numel() > 200


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0, 1.05, 1.15, 2.0])
def test_power_law_follows_its_distribution_function(alpha: float, generator: Generator) -> None:
    most, count = 1000, 200_000
    ranks = indices.power_law_ranks(most, count, alpha, generator)
    assert int(ranks.min()) >= 1
    assert int(ranks.max()) <= most
    measured = ranks.bincount(minlength=most + 1)[1:].cumsum(0).double() / count
    # P(rank <= k) = integral of x^-alpha over [1, k + 1), divided by that over [1, most + 1).
    edges = torch.arange(2, most + 2, dtype=torch.float64)
    if alpha == 1.0:
        expected = edges.log() / edges[-1].log()
    else:
        expected = (edges ** (1 - alpha) - 1) / (edges[-1] ** (1 - alpha) - 1)
    assert float((measured - expected).abs().max()) < 0.005


def test_power_law_spreads_the_hot_rows(generator: Generator) -> None:
    counts = indices.power_law(10_000, 100_000, generator).bincount(minlength=10_000)
    hottest = counts.argsort(descending=True)[:20]
    assert float(hottest.double().mean()) > 1000  # Not the first rows of the table.
    # P(rank 1) = (2^-0.05 - 1) / (10001^-0.05 - 1) = 0.0921
    assert abs(int(counts.max()) / 100_000 - 0.0921) < 0.005


def test_distinct_bags_are_distinct(generator: Generator) -> None:
    drawn = indices.distinct_bags(100, 300, 64, 1.15, generator)
    assert drawn.shape == (300, 64)
    assert all(bag.unique().numel() == 64 for bag in drawn)
    assert int(drawn.min()) >= 0
    assert int(drawn.max()) < 100


def test_distinct_bags_need_enough_rows(generator: Generator) -> None:
    with pytest.raises(ValueError, match="bags of 8 different rows need more than 8 rows"):
        indices.distinct_bags(8, 2, 8, 1.05, generator)


def test_distinct_bags_draw_until_enough_are_different(generator: Generator) -> None:
    """How often each row is in a bag of 2, against the sum over the orders of drawing."""
    rows, count = 5, 40_000
    drawn = indices.distinct_bags(rows, count, 2, 1.05, generator)
    edges = torch.arange(1, rows + 1, dtype=torch.float64) ** -0.05
    chances = (edges[:-1] - edges[1:]) / (edges[0] - edges[-1])
    expected = torch.zeros(rows - 1, dtype=torch.float64)
    for first, second in itertools.permutations(range(rows - 1), 2):
        chance = chances[first] * chances[second] / (1 - chances[first])
        expected[first] += chance
        expected[second] += chance
    measured = drawn.reshape(-1).bincount(minlength=rows).double() / count
    # The permutation hides which row is which; one of them is the rank that is never drawn.
    wanted = torch.cat([expected, torch.zeros(1, dtype=torch.float64)]).sort().values
    assert float((measured.sort().values - wanted).abs().max()) < 0.01
    # Neither place of a bag is privileged.
    first_place = drawn[:, 0].bincount(minlength=rows).double() / count
    assert float((2 * first_place - measured).abs().max()) < 0.02


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("index_dtype", [torch.int64, torch.int32], ids=str)
def test_layouts_of_bags(layout: str, index_dtype: torch.dtype) -> None:
    context = Context(torch.device("cpu"), index_dtype=index_dtype)
    drawn, offsets = bags(BAGS, layout, context)
    assert drawn.dtype == index_dtype
    if layout == "fixed":
        assert offsets is None
        assert drawn.shape == (40, 6)
        return
    assert isinstance(offsets, Tensor)
    assert offsets.dtype == index_dtype
    lengths = offsets.diff()
    assert offsets.shape == (41,)
    assert int(offsets[0]) == 0
    assert int(offsets[-1]) == drawn.numel()
    least, most = {"csr": (6, 6), "csr_uniform": (0, 6), "csr_power_law": (1, 48)}[layout]
    assert least <= int(lengths.min())
    assert int(lengths.max()) <= most


def test_csr_has_the_bags_of_fixed() -> None:
    context = Context(torch.device("cpu"))
    fixed, _ = bags({**BAGS, "width": 32}, "fixed", context)
    ragged, _ = bags({**BAGS, "width": 64}, "csr", context)
    assert torch.equal(fixed.reshape(-1), ragged)
    anew, _ = bags(BAGS, "csr", Context(torch.device("cpu")))
    assert torch.equal(anew, ragged)
    other, _ = bags({**BAGS, "alpha": 1.15}, "csr", context)
    assert not torch.equal(other, ragged)


@pytest.mark.parametrize(
    ("around", "below", "above"),
    [(1, 0, 4), (3, 0, 4), (17, 16, 20), (33, 32, 64), (100, 96, 128), (4096, 4064, 4128)],
)
def test_aligned_neighbours_of_odd_widths(around: int, below: int, above: int) -> None:
    cases = {"itself": around, "unaligned": around, "below": below, "above": above}
    assert {case: width_of({"around": around, "case": case}) for case in cases} == cases
    cells = SUITES["odd_widths"].cells(False, {"around": [str(around)], "op": ["forward"]})
    assert [c["case"] for c in cells] == [case for case in OTHERS if cases[case] > 0]


@pytest.mark.parametrize("op", ODD_OPS)
def test_odd_widths_differ_in_width_and_address_only(op: str) -> None:
    context = Context(torch.device("cpu"))
    cell = {"op": op, "around": 17, "values": 1 << 12}
    built = {case: SUITES["odd_widths"].build({**cell, "case": case}, context) for case in OTHERS}
    table = {case: getattr(problem, "weight", None) for case, problem in built.items()}
    values = {case: t if t is not None else built[case].grad for case, t in table.items()}
    assert {case: t.shape[1] for case, t in values.items()} == {
        "itself": 17,
        "below": 16,
        "above": 20,
        "unaligned": 17,
    }
    assert torch.equal(values["unaligned"], values["itself"])
    assert values["unaligned"].is_contiguous()
    assert values["unaligned"].data_ptr() % 16 == 4
    assert all(torch.equal(p.indices, built["itself"].indices) for p in built.values())


@pytest.mark.parametrize(
    ("mix", "skewed"),
    [
        ("uniform", []),
        ("half_pow_k", [0, 1, 2, 3]),
        ("alternate_pow_k", [1, 3]),
    ],
)
def test_mixes_choose_each_tables_distribution(
    mix: str, skewed: list[int], generator: Generator
) -> None:
    drawn = multi_indices([1000] * 4, [8] * 4, 4096, mix, generator)
    shares = (drawn == 0).double().mean(0)
    assert [t for t in range(4) if shares[t] > 0.4] == skewed


def test_mixes_by_width(generator: Generator) -> None:
    drawn = multi_indices([1001, 1001], [32, 33], 4096, "large_binomial", generator)
    assert ((drawn == 990).double().mean(0) > 0.05).tolist() == [False, True]
    drawn = multi_indices([1001, 1001], [32, 33], 4096, "small_binomial", generator)
    assert ((drawn == 990).double().mean(0) > 0.05).tolist() == [True, False]


def test_there_are_eleven_table_sets() -> None:
    lengths = [len(widths) for widths in TABLE_SETS.values()]
    assert lengths == [10, 20, 10, 10, 10, 20, 10, 10, 20, 10, 11]
