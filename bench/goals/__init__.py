"""What this project set out to reach, suite by suite, and whether a run's rows reach it.

A goal of another suite is a function here, in the file of its kind, and an entry in :data:`GOALS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from ..contrast import Group
from . import backward, cuembed, forward, model, multi, odd_widths
from .base import Goal, View

__all__ = ["GOALS", "Goal", "of"]

GOALS: dict[str, Callable[[View], Iterator[Goal]]] = {
    "fast_embedding": backward.fast_embedding,
    "fast_multi_embedding": multi.fast_multi_embedding,
    "cuembed_forward": cuembed.published_forward,
    "cuembed_sweep": cuembed.sweep,
    "forward": forward.plain,
    "backward": backward.plain,
    "bag_backward": backward.bags,
    "pooled_tables": forward.pooled_tables,
    "odd_widths": odd_widths.neighbours,
    "model": model.training_steps,
}
GOALS_ON_CPU = {"cuembed_sweep": cuembed.sweep_on_cpu}


def of(group: Group, subject: str, everyone: Sequence[Group]) -> list[Goal]:
    """The goals of one subject, as far as there are rows for them."""
    goals = GOALS_ON_CPU if group.variant["device"] == "cpu" else GOALS
    find = goals.get(group.suite)
    return list(find(View(group, subject, everyone))) if find else []
