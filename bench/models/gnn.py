"""Message passing on a graph: select the sources of the edges, add them up at the targets."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from ..indices import power_law, uniform
from ..problems import Modules


class Scale(NamedTuple):
    nodes: int
    edges: int
    width: int
    layers: int


FULL = Scale(100_000, 1_000_000, 128, 2)
QUICK = Scale(500, 2000, 16, 1)
LEARNING_RATE = 1e-4


class Gnn(nn.Module):
    """The loss of predicting a value per node."""

    def __init__(self, modules: Modules, scale: Scale) -> None:
        super().__init__()
        self.select = modules.select
        self.features = modules.embedding(scale.nodes, scale.width)
        self.messages = nn.ModuleList(
            nn.Linear(scale.width, scale.width) for _ in range(scale.layers)
        )
        self.output = nn.Linear(scale.width, 1)

    def forward(self, nodes: Tensor, sources: Tensor, targets: Tensor, values: Tensor) -> Tensor:
        """nodes (n,) row numbers, sources and targets (edges,), values (n,)."""
        x = self.features(nodes)
        for layer in self.messages:
            sent = self.select(layer(x), sources)
            x = x + F.relu(torch.zeros_like(x).index_add(0, targets, sent))
        return F.mse_loss(self.output(x).squeeze(1), values)


def inputs(scale: Scale, generator: Generator) -> tuple[Tensor, ...]:
    """Edges from nodes by a power law to nodes at random."""
    device = generator.device
    sources = power_law(scale.nodes, scale.edges, generator)
    targets = uniform(scale.nodes, scale.edges, generator)
    values = torch.randn(scale.nodes, generator=generator, device=device)
    return torch.arange(scale.nodes, device=device), sources, targets, values
