"""Training, evaluation and timing of a compiled rating model."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from tqdm import tqdm

from .baselines import rmse
from .data import Batch, BatchMaker, Ints
from .model import RatingModel


class Settings(NamedTuple):
    """How to train."""

    epochs: int = 8
    batch_size: int = 1024
    learning_rate: float = 5e-3
    penalty: float = 0.04
    seed: int = 0
    backend: str = "inductor"


class Trainer:
    """A model, its optimizer and its compiled loss.

    Args:
        model: the model, on the device to train on.
        settings: how to train.
        steps: how many steps train() is going to take; the learning rate follows one cycle.
    """

    def __init__(self, model: RatingModel, settings: Settings, steps: int) -> None:
        self.model = model
        self.device = next(model.parameters()).device
        self.optimizer = torch.optim.Adam(model.parameters(), settings.learning_rate, fused=True)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer, settings.learning_rate, total_steps=steps
        )

        def loss(batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
            predicted, penalty = model(batch)
            error = (predicted - batch.ratings).square().mean()
            return error + settings.penalty * penalty, error

        self.loss: Callable[[Batch], tuple[torch.Tensor, torch.Tensor]] = torch.compile(
            loss, fullgraph=True, backend=settings.backend
        )

    def place(self, batch: Batch) -> Batch:
        """The batch on the model's device, ready for step()."""
        batch = batch.to(self.device)
        # How many genres and rated items there are differs from batch to batch.
        torch._dynamo.mark_dynamic(batch.genres, 0)
        torch._dynamo.mark_dynamic(batch.history, 0)
        return batch

    def step(self, batch: Batch) -> torch.Tensor:
        """Forward, backward and update; the mean squared error () of the batch."""
        loss, error = self.loss(batch)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return error.detach()

    def train(
        self, maker: BatchMaker, train: Ints, test: Ints, settings: Settings, label: str
    ) -> tuple[list[float], list[float]]:
        """Train, with a progress bar; every epoch's training and test RMSE."""
        rng = np.random.default_rng(settings.seed)
        per_epoch = len(train) // settings.batch_size
        train_curve, test_curve = [], []
        with tqdm(total=settings.epochs * per_epoch, desc=label, unit="step") as bar:
            for _ in range(settings.epochs):
                # Equal batches: the few ratings left over have their turn in another epoch.
                rows = rng.permutation(train)[: per_epoch * settings.batch_size]
                errors = []
                for batch_rows in np.split(rows, per_epoch):
                    errors.append(self.step(self.place(maker.make(batch_rows, rng))))
                    self.schedule.step()
                    bar.update()
                train_curve.append(float(torch.stack(errors).mean().sqrt()))
                test_curve.append(self.evaluate(maker, test, settings))
                bar.set_postfix(train=f"{train_curve[-1]:.3f}", test=f"{test_curve[-1]:.3f}")
        return train_curve, test_curve

    @torch.no_grad()
    def evaluate(self, maker: BatchMaker, rows: Ints, settings: Settings) -> float:
        """RMSE of the predictions for these ratings, run eagerly."""
        rng = np.random.default_rng(settings.seed)
        predicted = [
            self.model(maker.make(part, rng).to(self.device))[0].cpu()
            for part in np.array_split(rows, -(-len(rows) // settings.batch_size))
        ]
        low, high = maker.data.ratings.min(), maker.data.ratings.max()
        return rmse(torch.cat(predicted).numpy().clip(low, high), maker.data.ratings[rows])


def step_times(
    trainers: dict[str, Trainer], batches: list[Batch], rounds: int = 3
) -> dict[str, list[float]]:
    """Seconds of every step of trained (so compiled) models, taken in turns on the same batches."""
    times: dict[str, list[float]] = {name: [] for name in trainers}
    for batch in batches * rounds:
        for name, trainer in trainers.items():
            placed = trainer.place(batch)
            synchronize(trainer.device)
            begin = time.perf_counter()
            trainer.step(placed)
            synchronize(trainer.device)
            times[name].append(time.perf_counter() - begin)
    return times


def synchronize(device: torch.device) -> None:
    """Wait for the device; a CPU has nothing to wait for."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
