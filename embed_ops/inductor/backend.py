"""The backend that ``torch.compile(model, backend="embed_ops")`` names."""

from __future__ import annotations

import functools
import hashlib
import importlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from torch.fx import GraphModule

from . import _torch
from .gather import lower_to_gather
from .graph import modules_in
from .passes import REWRITES
from .passes.base import remember_positions
from .report import Report


def backend(
    graph_module: GraphModule,
    example_inputs: list[Any],
    *,
    mode: str | None = None,
    options: dict[str, Any] | None = None,
) -> Callable[..., Any]:
    """Inductor, with the lookups of the graph made this library's.

    Not to be called, but to be named: ``torch.compile(model, backend="embed_ops")``. It is found by
    that name wherever the package is installed; nothing need be imported.

    Args:
        graph_module, example_inputs: from Dynamo.
        mode, options: those of ``torch.compile``, with the meaning they have for Inductor.
    """
    rewrite(graph_module).log()
    return _torch.compile_with_inductor(
        graph_module, example_inputs, mode, options, lower_to_gather, uuid()
    )


backend.reset = _torch.reset_inductor  # type: ignore[attr-defined]


def rewrite(graph_module: GraphModule) -> Report:
    """Applies every rewrite, in order, to the graph and to the bodies that are part of it."""
    report = Report()
    for module in modules_in(graph_module):
        found = Report()
        remember_positions(module.graph)
        for apply in REWRITES:
            apply(module.graph, found)
        module.graph.lint()
        module.recompile()
        found.sort()
        report.findings += found.findings
    return report


@functools.cache
def uuid() -> str:
    """Stands for everything here that shapes compiled code without showing in Dynamo's graph.

    That is the source of this package, of the gradient formulas and of the fake kernels. What the
    rewrites do to Dynamo's graph needs no mention: it is the rewritten graph that is looked up in
    the caches.
    """
    packages = ("embed_ops.inductor", "embed_ops.ops", "embed_ops.meta")
    return hash_of_sources(Path(importlib.import_module(name).__path__[0]) for name in packages)


def hash_of_sources(folders: Iterable[Path]) -> str:
    """The same as long as no Python file in these folders changes, comes or goes."""
    digest = hashlib.sha256()
    for folder in folders:
        for file in sorted(folder.rglob("*.py")):
            digest.update(str(file.relative_to(folder)).encode())
            digest.update(hashlib.sha256(file.read_bytes()).digest())
    return f"embed_ops-{digest.hexdigest()}"
