"""python -m examples.movielens: train, compare, report."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from .baselines import bias_rmse, mean_rmse
from .data import BatchMaker, load, split
from .model import FAST, TORCH, RatingModel
from .report import Result, print_table, save_pictures
from .train import Settings, Trainer, step_times

TIMED_BATCHES = 30


def parse_arguments() -> argparse.Namespace:
    defaults = Settings()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=defaults.epochs)
    parser.add_argument("--batch-size", type=int, default=defaults.batch_size)
    parser.add_argument("--seed", type=int, default=defaults.seed)
    parser.add_argument("--backend", default=defaults.backend, help="of torch.compile")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--output", type=Path, default=Path("build/demo"))
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    settings = Settings(
        epochs=arguments.epochs,
        batch_size=arguments.batch_size,
        seed=arguments.seed,
        backend=arguments.backend,
    )
    device = torch.device(arguments.device)
    data = load()
    train, test = split(data, settings.seed)
    maker = BatchMaker(data, train)
    baselines = {
        "global mean": mean_rmse(data, train, test),
        "user and item biases": bias_rmse(data, train, test),
    }

    steps = settings.epochs * (len(train) // settings.batch_size)
    mean_rating = float(data.ratings[train].mean())
    trainers, curves = {}, {}
    for name, lookups in {"torch.nn modules": TORCH, "embed_ops modules": FAST}.items():
        torch.manual_seed(settings.seed)
        model = RatingModel(data.sizes, mean_rating, lookups).to(device)
        trainers[name] = Trainer(model, settings, steps)
        curves[name] = trainers[name].train(maker, train, test, settings, name)

    rng = np.random.default_rng(settings.seed)
    rows = rng.choice(train, (TIMED_BATCHES, settings.batch_size))
    times = step_times(trainers, [maker.make(batch_rows, rng) for batch_rows in rows])
    results = {name: Result(*curves[name], times[name]) for name in trainers}

    where = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    print_table(baselines, results, f"{where}, torch {torch.__version__}")
    for path in save_pictures(results, arguments.output):
        print(f"saved {path}")
    print(f"test_rmse={results['embed_ops modules'].test_curve[-1]:.4f}")


if __name__ == "__main__":
    main()
