"""A recommender in the manner of DLRM: 26 tables as a plain ModuleList, and two perceptrons."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from ..indices import power_law
from ..problems import Modules


class Scale(NamedTuple):
    """Rows go from the first to the last number in equal ratios; widths take turns."""

    tables: int
    rows: tuple[int, int]
    widths: tuple[int, ...]
    dense: int
    hidden: tuple[int, ...]
    batch: int


FULL = Scale(26, (100_000, 1_000_000), (64, 96, 128), 13, (512, 256), 8192)
QUICK = Scale(4, (100, 1000), (8, 16), 13, (32,), 64)
LEARNING_RATE = 0.1


class Dlrm(nn.Module):
    """The loss of a click model: bags of categories and dense features through perceptrons."""

    def __init__(self, modules: Modules, scale: Scale) -> None:
        super().__init__()
        widths = [scale.widths[t % len(scale.widths)] for t in range(scale.tables)]
        self.tables = nn.ModuleList(
            modules.embedding_bag(rows, width, mode="sum")
            for rows, width in zip(table_rows(scale), widths, strict=True)
        )
        for rows, table in zip(table_rows(scale), self.tables, strict=True):
            for weight in table.parameters():
                nn.init.uniform_(weight, -(rows**-0.5), rows**-0.5)  # as DLRM does
        self.bottom = nn.Linear(scale.dense, widths[0])
        sizes = [widths[0] + sum(widths), *scale.hidden]
        layers: list[nn.Module] = []
        for wide, narrow in itertools.pairwise(sizes):
            layers += [nn.Linear(wide, narrow), nn.ReLU()]
        self.top = nn.Sequential(*layers, nn.Linear(sizes[-1], 1))

    def forward(self, dense: Tensor, clicks: Tensor, *bags: Tensor) -> Tensor:
        """dense (B, features), clicks (B,) of 0 and 1, and one (B, hotness) per table: the loss."""
        pooled = [table(bag) for table, bag in zip(self.tables, bags, strict=True)]
        together = torch.cat([F.relu(self.bottom(dense)), *pooled], 1)
        return F.binary_cross_entropy_with_logits(self.top(together).squeeze(1), clicks)


def table_rows(scale: Scale) -> list[int]:
    """The number of rows of each table."""
    low, high = scale.rows
    step = (high / low) ** (1 / max(scale.tables - 1, 1))
    return [round(low * step**t) for t in range(scale.tables)]


def inputs(scale: Scale, hotness: int, generator: Generator) -> tuple[Tensor, ...]:
    """Power-law categories, normal features, clicks at one in four."""
    device = generator.device
    dense = torch.randn(scale.batch, scale.dense, generator=generator, device=device)
    clicks = (torch.rand(scale.batch, generator=generator, device=device) < 0.25).float()
    bags = [
        power_law(rows, scale.batch * hotness, generator).reshape(scale.batch, hotness)
        for rows in table_rows(scale)
    ]
    return dense, clicks, *bags
