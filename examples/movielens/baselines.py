"""What a rating model must beat."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .data import Ints, MovieLens


def rmse(predicted: NDArray[np.floating], ratings: NDArray[np.floating]) -> float:
    """Root mean squared error."""
    return float(np.sqrt(np.square(predicted - ratings).mean()))


def mean_rmse(data: MovieLens, train: Ints, test: Ints) -> float:
    """Test RMSE of predicting the training ratings' mean."""
    return rmse(data.ratings[train].mean(keepdims=True), data.ratings[test])


def bias_rmse(
    data: MovieLens, train: Ints, test: Ints, damping: float = 5.0, rounds: int = 10
) -> float:
    """Test RMSE of mean + user's bias + item's bias, fitted by alternating damped means."""
    users, items = data.users[train], data.items[train]
    mean = data.ratings[train].mean()
    centred = data.ratings[train] - mean
    user_bias: NDArray[np.floating] = np.zeros(data.sizes.users)
    item_bias: NDArray[np.floating] = np.zeros(data.sizes.items)
    for _ in range(rounds):
        item_bias = damped_means(items, centred - user_bias[users], data.sizes.items, damping)
        user_bias = damped_means(users, centred - item_bias[items], data.sizes.users, damping)
    predicted = mean + user_bias[data.users[test]] + item_bias[data.items[test]]
    return rmse(predicted, data.ratings[test])


def damped_means(
    groups: Ints, values: NDArray[np.floating], size: int, damping: float
) -> NDArray[np.floating]:
    """Each group's mean (size,), drawn towards 0 as if it had `damping` more values of 0."""
    return np.bincount(groups, values, size) / (np.bincount(groups, minlength=size) + damping)
