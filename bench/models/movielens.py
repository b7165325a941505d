"""The rating model of examples/movielens, on inputs of MovieLens-100K's sizes drawn at random: the
data itself is not needed, and is not everywhere."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Generator, Tensor, nn

from examples.movielens.data import Batch, Sizes
from examples.movielens.model import Lookups, RatingModel

from ..indices import offsets_of, power_law, uniform, uniform_lengths
from ..problems import Modules

SIZES = Sizes(users=943, items=1682, genres=19, demographics=(7, 2, 21))
PENALTY = 0.04


class Scale(NamedTuple):
    batch: int
    history: int


FULL = Scale(1024, 50)
QUICK = Scale(64, 10)
LEARNING_RATE = 0.1


class MovieLensLoss(nn.Module):
    """Squared error and penalty, as the example trains with."""

    def __init__(self, modules: Modules) -> None:
        super().__init__()
        lookups = Lookups(modules.embedding, modules.embedding_bag, modules.multi_embedding)
        self.model = RatingModel(SIZES, 3.5, lookups)

    def forward(self, *tensors: Tensor) -> Tensor:
        """The fields of a batch."""
        batch = Batch(*tensors)
        predicted, penalty = self.model(batch)
        return (predicted - batch.ratings).square().mean() + PENALTY * penalty


def inputs(scale: Scale, generator: Generator) -> tuple[Tensor, ...]:
    """Popular items by a power law; one to three genres; histories of every length."""
    batch = scale.batch
    genres = offsets_of(uniform_lengths(batch, 2, generator) + 1)
    history = offsets_of(uniform_lengths(batch, scale.history, generator))
    demographics = [uniform(rows, batch, generator) for rows in SIZES.demographics]
    return Batch(
        users=power_law(SIZES.users, batch, generator),
        items=power_law(SIZES.items, batch, generator),
        demographics=torch.stack(demographics, 1),
        genres=uniform(SIZES.genres, int(genres[-1]), generator),
        genre_offsets=genres[:-1],
        history=power_law(SIZES.items, int(history[-1]), generator),
        history_offsets=history[:-1],
        ratings=uniform(5, batch, generator).float() + 1.0,
    )
