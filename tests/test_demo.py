"""The demo: no test rating leaks into training, both kinds of modules are one model, it runs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend

from examples.movielens import baselines, data
from examples.movielens.model import FAST, TORCH, Lookups, RatingModel

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def movielens() -> data.MovieLens:
    try:
        return data.load()
    except ModuleNotFoundError as missing:
        pytest.skip(f"needs {missing.name}, see requirements/")


@pytest.fixture(scope="module")
def parts(movielens: data.MovieLens) -> tuple[data.Ints, data.Ints]:
    return data.split(movielens, seed=0)


def model(movielens: data.MovieLens, lookups: Lookups) -> RatingModel:
    torch.manual_seed(0)
    return RatingModel(movielens.sizes, 3.5, lookups)


def bags(values: torch.Tensor, offsets: torch.Tensor) -> list[list[int]]:
    return [part.tolist() for part in values.tensor_split(offsets[1:])]


def test_the_data_set_is_movielens_100k(movielens: data.MovieLens) -> None:
    assert movielens.sizes == data.Sizes(943, 1682, 19, (7, 2, 21))
    assert len(movielens.ratings) == len(movielens.users) == len(movielens.items) == 100_000
    assert set(movielens.ratings) == {1, 2, 3, 4, 5}
    assert movielens.demographics.shape == (943, 3)
    toy_story = movielens.genres[0]
    assert toy_story[toy_story >= 0].tolist() == [3, 4, 5]  # Animation, Children's, Comedy


def test_the_split_is_seeded_and_complete(movielens: data.MovieLens) -> None:
    train, test = data.split(movielens, seed=1)
    assert len(test) == 10_000
    assert sorted(np.concatenate([train, test])) == list(range(100_000))
    assert np.array_equal(data.split(movielens, seed=1)[1], test)
    assert not np.array_equal(data.split(movielens, seed=2)[1], test)


@pytest.mark.parametrize("which", ["train", "test"])
def test_histories_hold_other_training_ratings_only(
    movielens: data.MovieLens, parts: tuple[data.Ints, data.Ints], which: str
) -> None:
    train, test = parts
    trained = set(zip(movielens.users[train], movielens.items[train], strict=True))
    rows = (train if which == "train" else test)[:500]
    batch = data.BatchMaker(movielens, train).make(rows, np.random.default_rng(0))
    histories = bags(batch.history, batch.history_offsets)
    counts = np.bincount(movielens.users[train])
    assert len(histories) == len(rows)
    for row, history in zip(rows, histories, strict=True):
        user, item = movielens.users[row], movielens.items[row]
        assert item not in history
        assert len(history) == len(set(history))
        assert all((user, other) in trained for other in history)
        assert len(history) >= min(50, counts[user]) - 1
    assert len(set(map(len, histories))) > 1  # of different lengths


def test_a_user_without_training_ratings_has_an_empty_history(movielens: data.MovieLens) -> None:
    last = movielens.sizes.users - 1
    train = np.flatnonzero(movielens.users != last)
    rows = np.flatnonzero(movielens.users == last)[:3]
    batch = data.BatchMaker(movielens, train).make(rows, np.random.default_rng(0))
    assert bags(batch.history, batch.history_offsets) == [[], [], []]


def test_a_batch_is_what_the_tables_say(
    movielens: data.MovieLens, parts: tuple[data.Ints, data.Ints]
) -> None:
    rows = parts[0][:100]
    batch = data.BatchMaker(movielens, parts[0]).make(rows, np.random.default_rng(0))
    genres = bags(batch.genres, batch.genre_offsets)
    for number, row in enumerate(rows):
        user, item = movielens.users[row], movielens.items[row]
        assert batch.users[number] == user
        assert batch.items[number] == item
        assert batch.ratings[number] == movielens.ratings[row]
        assert batch.demographics[number].tolist() == movielens.demographics[user].tolist()
        assert genres[number] == [g for g in movielens.genres[item] if g != data.NO_GENRE]


def test_baselines(movielens: data.MovieLens, parts: tuple[data.Ints, data.Ints]) -> None:
    by_mean = baselines.mean_rmse(movielens, *parts)
    by_bias = baselines.bias_rmse(movielens, *parts)
    assert 1.09 < by_mean < 1.15
    assert 0.90 < by_bias < 0.97


def test_both_kinds_of_modules_are_the_same_model(
    movielens: data.MovieLens, parts: tuple[data.Ints, data.Ints]
) -> None:
    batch = data.BatchMaker(movielens, parts[0]).make(parts[0][:256], np.random.default_rng(0))
    gradients = []
    outputs = []
    for lookups in (TORCH, FAST):
        net = model(movielens, lookups)
        predicted, penalty = net(batch)
        (predicted.square().mean() + penalty).backward()
        outputs.append((predicted, penalty))
        of_tables = [parameter.grad for parameter in net.demographics.parameters()]
        gradients.append(
            {
                "demographics": torch.cat([grad.flatten() for grad in of_tables]),
                **{
                    name: parameter.grad
                    for name, parameter in net.named_parameters()
                    if not name.startswith("demographics")
                },
            }
        )
    torch.testing.assert_close(outputs[1], outputs[0])
    torch.testing.assert_close(gradients[1], gradients[0])


def test_one_graph_serves_bags_of_all_lengths(
    movielens: data.MovieLens, parts: tuple[data.Ints, data.Ints], fresh_compiler: None
) -> None:
    maker = data.BatchMaker(movielens, parts[0])
    counter = CompileCounterWithBackend("aot_eager")
    net = model(movielens, FAST)
    compiled = torch.compile(net, fullgraph=True, backend=counter)
    for rows in np.split(parts[0][:384], 3):
        batch = maker.make(rows, np.random.default_rng(0))
        torch._dynamo.mark_dynamic(batch.genres, 0)
        torch._dynamo.mark_dynamic(batch.history, 0)
        torch.testing.assert_close(compiled(batch), net(batch))
        compiled(batch)[0].sum().backward()
    assert counter.frame_count == 1


def test_the_program(movielens: data.MovieLens, tmp_path: Path) -> None:
    """Fewer epochs than by default, which are enough."""
    run = subprocess.run(
        [sys.executable, "-m", "examples.movielens", "--epochs=2", f"--output={tmp_path}"],
        cwd=ROOT,
        env={**os.environ, "OMP_WAIT_POLICY": "passive"},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    *table, last = run.stdout.splitlines()
    rmse = re.fullmatch(r"test_rmse=(\d\.\d+)", last)
    assert rmse is not None
    assert float(rmse[1]) <= 0.95
    for row in ("global mean", "user and item biases", "torch.nn modules", "embed_ops modules"):
        assert any(row in line for line in table)
    assert {path.name for path in tmp_path.iterdir()} == {"loss.png", "step_time.png"}
