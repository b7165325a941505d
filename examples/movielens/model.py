"""The rating model, written once for any classes of lookup modules."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import nn

import embed_ops

from .data import Batch, Sizes


class TorchMultiEmbedding(nn.Module):
    """What FastMultiEmbedding does, as torch users write it: a list of nn.Embedding and a cat.

    Args:
        embedding_sizes: rows of each table.
        embedding_dims: width of each table.
        _weight: initial values of all tables, one after another, 1-D; None draws them at random.
    """

    def __init__(
        self,
        embedding_sizes: Sequence[int],
        embedding_dims: Sequence[int],
        _weight: torch.Tensor | None = None,
    ) -> None:
        super().__init__()
        shapes = list(zip(embedding_sizes, embedding_dims, strict=True))
        parts: Sequence[torch.Tensor | None] = [None] * len(shapes)
        if _weight is not None:
            parts = _weight.split([rows * dim for rows, dim in shapes])
        self.tables = nn.ModuleList(
            nn.Embedding(*shape, _weight=None if part is None else part.view(shape))
            for shape, part in zip(shapes, parts, strict=True)
        )

    def forward(self, indices: torch.Tensor) -> torch.Tensor:
        """indices (B, n) -> (B, sum of embedding_dims)."""
        found = [
            table(column) for table, column in zip(self.tables, indices.unbind(1), strict=True)
        ]
        return torch.cat(found, 1)


class Lookups(NamedTuple):
    """The classes that a model looks its rows up with."""

    embedding: Callable[..., nn.Module]
    embedding_bag: Callable[..., nn.Module]
    multi_embedding: Callable[..., nn.Module]


TORCH = Lookups(nn.Embedding, nn.EmbeddingBag, TorchMultiEmbedding)
FAST = Lookups(embed_ops.FastEmbedding, embed_ops.FastEmbeddingBag, embed_ops.FastMultiEmbedding)


class RatingModel(nn.Module):
    """A biased matrix factorisation with side information.

    A user is described by a row of its own, the mean of the items it has rated and its
    demographics; an item by a row of its own and the mean of its genres. The rating is the scalar
    product of the two descriptions plus their biases.

    Args:
        sizes: rows of each table.
        mean_rating: added to every prediction.
        lookups: the module classes to use; the initial weights do not depend on them.
        width: columns of the tables. The last one is the bias, so that factors and bias are one
            lookup.
        demographic_dims: widths of the demographic tables.
        init_std: standard deviation of the initial weights.
    """

    def __init__(
        self,
        sizes: Sizes,
        mean_rating: float = 0.0,
        lookups: Lookups = FAST,
        width: int = 32,
        demographic_dims: Sequence[int] = (8, 4, 8),
        init_std: float = 0.05,
    ) -> None:
        super().__init__()

        def draw(*shape: int) -> torch.Tensor:
            return torch.randn(shape) * init_std

        def table(cls: Callable[..., nn.Module], rows: int, **options: str) -> nn.Module:
            return cls(rows, width, _weight=draw(rows, width), **options)

        self.mean_rating = mean_rating
        self.user = table(lookups.embedding, sizes.users)
        self.item = table(lookups.embedding, sizes.items)
        self.history = table(lookups.embedding_bag, sizes.items, mode="mean")
        self.genres = table(lookups.embedding_bag, sizes.genres, mode="mean")
        weights = sum(n * dim for n, dim in zip(sizes.demographics, demographic_dims, strict=True))
        self.demographics = lookups.multi_embedding(
            sizes.demographics, demographic_dims, _weight=draw(weights)
        )
        self.project = nn.Linear(sum(demographic_dims), width, bias=False)

    def forward(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """The predicted ratings (B,), and the mean squared norm of the descriptions ()."""
        user = (
            self.user(batch.users)
            + self.history(batch.history, batch.history_offsets)
            + self.project(self.demographics(batch.demographics))
        )
        item = self.item(batch.items) + self.genres(batch.genres, batch.genre_offsets)
        predicted = (user[:, :-1] * item[:, :-1]).sum(1) + user[:, -1] + item[:, -1]
        penalty = (user.square().sum(1) + item.square().sum(1)).mean()
        return self.mean_rating + predicted, penalty
