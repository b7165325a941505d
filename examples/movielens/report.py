"""The table and the pictures of the demo."""

from __future__ import annotations

from pathlib import Path
from statistics import median
from typing import NamedTuple

import matplotlib
from rich.console import Console
from rich.table import Table

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.ticker import MaxNLocator


class Result(NamedTuple):
    """One trained model."""

    train_curve: list[float]
    test_curve: list[float]
    step_times: list[float]  # seconds


def print_table(baselines: dict[str, float], results: dict[str, Result], where: str) -> None:
    """Test RMSE of everything, step time of the trained models."""
    table = Table(title=f"MovieLens-100K, random 90/10 split, {where}")
    table.add_column("model")
    table.add_column("test RMSE", justify="right")
    table.add_column("compiled step, ms (median)", justify="right")
    for name, value in baselines.items():
        table.add_row(name, f"{value:.4f}", "")
    for name, result in results.items():
        milliseconds = 1e3 * median(result.step_times)
        table.add_row(name, f"{result.test_curve[-1]:.4f}", f"{milliseconds:.2f}")
    Console().print(table)


def save_pictures(results: dict[str, Result], folder: Path) -> list[Path]:
    """Draw the loss curves and the step times; the files written."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / "loss.png", folder / "step_time.png"]

    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    for number, (name, result) in enumerate(results.items()):
        epochs = range(1, len(result.train_curve) + 1)
        color, style = f"C{number}", "--" if number else "-"
        axes.plot(epochs, result.train_curve, style, color=color, alpha=0.5, label=f"{name}, train")
        axes.plot(epochs, result.test_curve, style, color=color, label=f"{name}, test")
    axes.set(xlabel="epoch", ylabel="RMSE", title="MovieLens-100K")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend()
    figure.savefig(paths[0], dpi=150)

    figure, axes = plt.subplots(figsize=(7, 2.5), layout="constrained")
    milliseconds = [[1e3 * time for time in result.step_times] for result in results.values()]
    axes.boxplot(
        milliseconds,
        tick_labels=list(results),
        orientation="horizontal",
        widths=0.5,
        showfliers=False,
    )
    axes.set(xlabel="ms", title="Compiled training step: forward, backward and update")
    axes.set_xlim(left=0)
    figure.savefig(paths[1], dpi=150)
    plt.close("all")
    return paths
