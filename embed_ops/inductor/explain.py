"""explain(): what backend="embed_ops" makes of a model's lookups."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.fx import GraphModule

from .backend import rewrite
from .report import Report


def explain(model: Callable[..., Any], *inputs: Any, **kwargs: Any) -> Report:
    """Prints each lookup of a model and what ``backend="embed_ops"`` makes of it.

    The model is traced as torch.compile would, and its forward runs once, uncompiled.

    Args:
        model: a module or function.
        *inputs, **kwargs: what to call it with.

    Returns:
        What was printed.
    """
    whole = Report()

    def look(graph_module: GraphModule, example_inputs: list[Any]) -> Callable[..., Any]:
        whole.findings += rewrite(graph_module).findings
        return graph_module.forward

    torch.compile(model, backend=look)(*inputs, **kwargs)
    print(whole)
    return whole
