"""Whole training steps: never slower than Inductor, faster by what the lookups are of a step."""

from __future__ import annotations

from collections.abc import Iterator

from .. import contrast
from ..contrast import Times
from .base import Goal, View

# Who compiles the same model in the same mode.
OPPONENTS = {
    "embed_ops_backend": "inductor",
    "embed_ops_backend_cudagraphs": "inductor_cudagraphs",
}
SMALL = ("movielens", "gnn")
COMPILE_TIME = 1.10


def training_steps(view: View) -> Iterator[Goal]:
    opponent = OPPONENTS.get(view.subject)
    if opponent is None or not view.usual:
        return
    speedups = view.speedups(opponent)
    recommender = _of(view, speedups, "dlrm", part="forward_backward")
    place = view.group.axes.index("model")
    for precision in ("float32", "tf32"):
        in_tf32 = precision == "tf32"
        chosen = {c: s for c, s in recommender.items() if c[place].endswith("tf32") == in_tf32}
        text = f"against {opponent}, dlrm forward + backward, perceptrons in {precision}"
        yield from view.least_of(text, chosen, 2.5)
    yield from view.never_slower(f"{opponent}, gpt", _of(view, speedups, "gpt"))
    small = _of(view, speedups, *SMALL)
    yield from view.never_slower(f"{opponent}, movielens and gnn", small)
    yield from view.mean_of(f"against {opponent}, movielens and gnn", small, 1.3)
    wall = view.speedups(opponent, "wall_us")
    yield from view.never_slower(f"{opponent}, wall time", wall)
    compiled = contrast.quotients(_compile_s(view, opponent), _compile_s(view, view.subject))
    yield from view.least_of(f"compile time of {opponent} / own", compiled, 1 / COMPILE_TIME)


def _of(view: View, times: Times, *models: str, **wanted: str) -> Times:
    """The cells of some models, which are named up to an underscore."""
    place = view.group.axes.index("model")
    chosen = view.group.only(times, **wanted).items()
    return {cell: time for cell, time in chosen if cell[place].partition("_")[0] in models}


def _compile_s(view: View, peer: str) -> Times:
    """Of the cells in which the peer compiled."""
    compilations = view.group.column(peer, "compilations")
    first = view.group.column(peer, "first_call_s")
    return {cell: seconds for cell, seconds in first.items() if compilations.get(cell)}
