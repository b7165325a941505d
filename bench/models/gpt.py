"""A small language model in the manner of GPT-2, its token table tied to its output or not."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from ..indices import power_law
from ..problems import Modules


class Scale(NamedTuple):
    vocabulary: int
    width: int
    heads: int
    layers: int
    batch: int
    length: int


FULL = Scale(50_257, 768, 12, 4, 16, 1024)
QUICK = Scale(503, 32, 2, 1, 2, 16)
LEARNING_RATE = 0.1


class Block(nn.Module):
    """Attention and a perceptron, each behind a LayerNorm and around a residual."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_1, self.norm_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attend, self.project = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.widen, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, width = x.shape
        parts = self.attend(self.norm_1(x)).split(width, dim=2)
        query, key, value = (p.view(batch, length, self.heads, -1).transpose(1, 2) for p in parts)
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + self.project(mixed.transpose(1, 2).reshape(batch, length, width))
        return x + self.narrow(F.gelu(self.widen(self.norm_2(x))))


class Lookups(nn.Module):
    """Tokens and positions; the loss is there to give them gradients."""

    def __init__(self, modules: Modules, scale: Scale) -> None:
        super().__init__()
        self.tokens = modules.embedding(scale.vocabulary, scale.width)
        self.positions = modules.embedding(scale.length, scale.width)
        for table in (self.tokens, self.positions):
            nn.init.normal_(_weight(table), std=0.02)

    def embed(self, tokens: Tensor) -> Tensor:
        """(batch, length) -> (batch, length, width)"""
        positions = torch.arange(tokens.shape[1], device=tokens.device)
        return self.tokens(tokens) + self.positions(positions)

    def forward(self, tokens: Tensor, following: Tensor) -> Tensor:
        """Two tensors (batch, length) of tokens, of which the second is not used."""
        return self.embed(tokens).square().sum(2).mean()


class Gpt(Lookups):
    """The loss of predicting each next token."""

    def __init__(self, modules: Modules, scale: Scale, tied: bool) -> None:
        super().__init__(modules, scale)
        self.blocks = nn.Sequential(*(Block(scale.width, scale.heads) for _ in range(scale.layers)))
        self.norm = nn.LayerNorm(scale.width)
        self.output = nn.Linear(scale.width, scale.vocabulary, bias=False)
        if tied:
            self.output.weight = _weight(self.tokens)

    def forward(self, tokens: Tensor, following: Tensor) -> Tensor:
        """Two tensors (batch, length) of tokens."""
        logits = self.output(self.norm(self.blocks(self.embed(tokens))))
        return F.cross_entropy(logits.flatten(0, 1), following.flatten().long())


def _weight(table: nn.Module) -> nn.Parameter:
    """The only parameter of an embedding."""
    (weight,) = table.parameters()
    return weight


def inputs(scale: Scale, generator: Generator) -> tuple[Tensor, ...]:
    """Tokens by a power law, as words are."""
    count = scale.batch * (scale.length + 1)
    text = power_law(scale.vocabulary, count, generator).reshape(scale.batch, scale.length + 1)
    return text[:, :-1].contiguous(), text[:, 1:].contiguous()
