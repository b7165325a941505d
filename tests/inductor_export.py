"""A model with every forward op, for tests of export in this and in other processes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

import embed_ops
from embed_ops._replace import replace


class Model(nn.Module):
    """Through torch's modules made ours, our own modules and functions."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(50, 16, padding_idx=3)
        self.bags = nn.EmbeddingBag(30, 16)
        self.most = nn.EmbeddingBag(30, 16, mode="max")
        self.features = embed_ops.FastMultiEmbedding([5, 6], [3, 4])
        replace(self)

    def forward(self, x: Tensor, bags: Tensor, offsets: Tensor) -> Tensor:
        pair = [self.words.weight, self.bags.weight]
        return torch.cat(
            [
                self.words(x).sum(1),
                self.bags(bags, offsets),
                self.most(bags, offsets),
                self.features(x),
                embed_ops.multi_embedding(x, pair),
            ],
            1,
        )


def make_inputs(device: str) -> tuple[Tensor, ...]:
    """Rows, bags and their offsets."""
    x = torch.randint(5, (3, 2), device=device)
    bags = torch.randint(30, (7,), device=device)
    return x, bags, torch.tensor([0, 2, 2], device=device)
