"""Makers of indices: how often which row of a table is looked up.

Every maker draws on the device of its generator, so that large cells need no copy, and returns
int64. The first five distributions are those of FastEmbedding's benchmark; the power law is the one
that cuEmbed's benchmarks draw from ("PSX").
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Generator, Tensor


def uniform(rows: int, count: int, generator: Generator) -> Tensor:
    """Every row equally likely."""
    return torch.randint(rows, (count,), generator=generator, device=generator.device)


def half_pow_k(rows: int, count: int, generator: Generator) -> Tensor:
    """Row k takes a share of 0.5^(k+1), exactly and not in expectation, in random order.

    Half of the indices are 0, half of the rest 1, and so on; the one left over is 0 as well. Tables
    with fewer rows take what is beyond them in their last row.
    """
    ranks = torch.zeros(count, dtype=torch.int64, device=generator.device)
    start, length, row = 0, count // 2, 0
    while length:
        ranks[start : start + length] = row
        start, length, row = start + length, length // 2, row + 1
    shuffled = ranks[torch.randperm(count, generator=generator, device=generator.device)]
    return shuffled.clamp_(max=rows - 1)


def same_index(rows: int, count: int, generator: Generator) -> Tensor:
    """One row, drawn at random, for all."""
    return uniform(rows, 1, generator).expand(count).contiguous()


def half_binomial(rows: int, count: int, generator: Generator) -> Tensor:
    """Half uniform, half binomial(rows - 1, 0.99), in random order."""
    trials = torch.full(
        (count - count // 2,), rows - 1.0, dtype=torch.float64, device=generator.device
    )
    binomial = torch.binomial(trials, torch.full_like(trials, 0.99), generator=generator).long()
    both = torch.cat([uniform(rows, count // 2, generator), binomial])
    return both[torch.randperm(count, generator=generator, device=generator.device)]


def fifth_same(rows: int, count: int, generator: Generator) -> Tensor:
    """The first fifth names row 0, the others are uniform."""
    indices = uniform(rows, count, generator)
    indices[: count // 5] = 0
    return indices


def power_law_ranks(most: int, count: int, alpha: float, generator: Generator) -> Tensor:
    """Values 1 ... most with a density proportional to x^-alpha; 1 is the most frequent.

    A uniform u in [0, 1) is sent through the inverse of the distribution function of x^-alpha on
    [1, most + 1): x = (1 + u ((most + 1)^g - 1))^(1 / g) with g = 1 - alpha, and rounded down.
    ``alpha`` = 0 is uniform; for ``alpha`` = 1 the formula has the limit (most + 1)^u.
    """
    draws = torch.rand(count, generator=generator, device=generator.device, dtype=torch.float64)
    exponent = 1.0 - alpha
    if exponent == 0.0:
        values = (most + 1.0) ** draws
    else:
        values = (1.0 + draws * ((most + 1.0) ** exponent - 1.0)) ** (1.0 / exponent)
    return values.long().clamp_(1, most)


def power_law(rows: int, count: int, generator: Generator, alpha: float = 1.05) -> Tensor:
    """A power law over the rows, the frequent ones at random places in the table."""
    ranks = power_law_ranks(rows, count, alpha, generator) - 1
    return torch.randperm(rows, generator=generator, device=generator.device)[ranks]


DISTRIBUTIONS: dict[str, Callable[[int, int, Generator], Tensor]] = {
    "uniform": uniform,
    "half_pow_k": half_pow_k,
    "same_index": same_index,
    "half_binomial": half_binomial,
    "fifth_same": fifth_same,
    "power_law_1.05": power_law,
}


def distinct_bags(rows: int, bags: int, hotness: int, alpha: float, generator: Generator) -> Tensor:
    """(bags, hotness): in each bag ``hotness`` different rows drawn from the power law.

    As cuEmbed's generator: ranks are drawn until the bag holds enough different ones, then a random
    permutation of the table (the same for all bags) names the rows. Row ranks stop at rows - 1,
    since cuEmbed keeps one for "missing".

    Raises:
        ValueError: ``hotness`` is greater than the number of ranks.
    """
    most = max(rows - 1, 1)
    if hotness > most:
        raise ValueError(f"bags of {hotness} different rows need more than {rows} rows")
    ranks = power_law_ranks(most, bags * hotness, alpha, generator).reshape(bags, hotness)
    unfinished = torch.arange(bags, device=generator.device)
    while hotness > 1 and unfinished.numel():
        # Sorted, a rank equal to its left neighbour is a repetition and is drawn again; drawing one
        # for each at a time is the same as drawing on until enough are different.
        part = ranks[unfinished].sort(dim=1).values
        repeated = torch.zeros_like(part, dtype=torch.bool)
        repeated[:, 1:] = part[:, 1:] == part[:, :-1]
        part[repeated] = power_law_ranks(most, int(repeated.sum()), alpha, generator)
        ranks[unfinished] = part
        unfinished = unfinished[repeated.any(dim=1)]
    # Sorting left the hot rows first in every bag.
    order = torch.rand(ranks.shape, generator=generator, device=generator.device).argsort(dim=1)
    names = torch.randperm(rows, generator=generator, device=generator.device)
    return names[ranks.gather(1, order)]


def uniform_lengths(bags: int, most: int, generator: Generator) -> Tensor:
    """(bags,): lengths 0 ... most, equally likely, as cuEmbed's CSR inputs."""
    return torch.randint(most + 1, (bags,), generator=generator, device=generator.device)


def power_law_lengths(bags: int, hotness: int, generator: Generator) -> Tensor:
    """(bags,): lengths 1 ... 8 x hotness by the power law 1.05: mostly short, some long."""
    return power_law_ranks(8 * hotness, bags, 1.05, generator)


def offsets_of(lengths: Tensor) -> Tensor:
    """(bags + 1,): where each bag begins, and the end of the last."""
    return torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
