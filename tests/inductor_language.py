"""A small language model, and its gradients, for tests in this and in other processes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint


class Language(nn.Module):
    """Words, positions and two bags; the table of words may also be the output's."""

    def __init__(
        self, tied: bool = False, checkpointed: bool = False, vocabulary: int = 20
    ) -> None:
        super().__init__()
        self.checkpointed = checkpointed
        self.words, self.positions = nn.Embedding(vocabulary, 16), nn.Embedding(6, 16)
        self.bags = nn.ModuleList(nn.EmbeddingBag(7, 8, mode="mean") for _ in range(2))
        self.layer, self.output = nn.Linear(16, 16), nn.Linear(16, vocabulary, bias=False)
        if tied:
            self.output.weight = self.words.weight

    def body(self, x: Tensor) -> Tensor:
        positions = torch.arange(x.shape[1], device=x.device)
        return F.relu(self.layer(self.words(x) + self.positions(positions)))

    def forward(self, x: Tensor) -> Tensor:
        h = checkpoint(self.body, x, use_reentrant=False) if self.checkpointed else self.body(x)
        bags = torch.cat([bag(x % 7) for bag in self.bags], 1)
        return F.cross_entropy(self.output(h.mean(1) + bags), x[:, 0])


def train(
    model: Language,
    function: Callable[..., Any],
    steps: int = 1,
    autocast: bool = False,
    seed: int = 0,
) -> dict[str, Tensor]:
    """The loss and every gradient after ``steps`` backwards without an optimizer."""
    model.zero_grad()
    device = model.words.weight.device
    torch.manual_seed(seed)
    for _ in range(steps):
        x = torch.randint(20, (5, 6), device=device)
        with torch.autocast(device.type, torch.bfloat16, enabled=autocast):
            loss = function(x)
        loss.backward()
    gradients = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    return {"loss": loss.detach(), **gradients}
