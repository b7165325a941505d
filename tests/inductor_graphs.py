"""Dynamo's graphs before and after the rewrites, as text that no release of torch changes."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import torch
from torch._dynamo.backends.debugging import aot_eager
from torch.fx import Graph, GraphModule, Node

from embed_ops.inductor.backend import rewrite
from embed_ops.inductor.graph import is_barrier
from embed_ops.inductor.report import Report


class Rewriting:
    """A backend that applies the rewrites, and then AOTAutograd without Inductor, which is quick.

    Attributes:
        became: what the lookups of the last graph became, in the order of the model.
    """

    def __init__(self) -> None:
        self.became: tuple[str, ...] = ()

    def __call__(self, graph_module: GraphModule, inputs: list[Any]) -> Callable[..., Any]:
        self.became = tuple(f.became.split()[0] for f in rewrite(graph_module).findings)
        return aot_eager(graph_module, inputs)


def look(function: Callable[..., Any], inputs: Any) -> tuple[str, Report]:
    """The graph of ``function`` before and after, and what is reported about it."""
    seen = []

    def backend(graph_module: GraphModule, example_inputs: list[Any]) -> Callable[..., Any]:
        before = text(graph_module.graph)
        report = rewrite(graph_module)
        after = text(graph_module.graph)
        seen.append((before if before == after else f"{before}\n----\n{after}", report))
        return graph_module.forward

    torch.compile(function, backend=backend, fullgraph=True)(*inputs)
    assert len(seen) == 1
    return seen[0]


def text(graph: Graph) -> str:
    """One line for each call that something reads or that does something, with names of our own."""
    names: dict[Node, str] = {}
    lines = []
    for node in graph.nodes:
        if node.op == "placeholder":
            # L_weight_, or L_self_modules_tables_modules_0_parameters_weight_
            short = re.sub(r"^L_(self_)?|_(modules|parameters)|_$", "", str(node.target))
            names[node] = re.sub(r"^modules_", "", short)
        elif node.op == "output":
            lines.append(f"return {_show(node.args[0], names)}")
        elif node.users or is_barrier(node):
            names[node] = _letter(len(lines))
            lines.append(f"{names[node]} = {_call(node, names)}")
    return "\n".join(lines)


def _call(node: Node, names: dict[Node, str]) -> str:
    arguments = [_show(argument, names) for argument in node.args]
    arguments += [f"{name}={_show(value, names)}" for name, value in node.kwargs.items()]
    if node.op == "get_attr":
        return str(node.target)
    if node.op == "call_method":
        return f"{arguments[0]}.{node.target}({', '.join(arguments[1:])})"
    if node.target.__name__ == "getitem":
        return f"{arguments[0]}[{arguments[1]}]"
    return f"{_name(node.target)}({', '.join(arguments)})"


def _name(target: Any) -> str:
    if isinstance(target, torch._ops.OpOverload | torch._ops.OpOverloadPacket):
        return str(target).removesuffix(".default")
    return str(target.__name__)


def _show(value: Any, names: dict[Node, str]) -> str:
    if isinstance(value, Node):
        return names[value]
    if isinstance(value, slice):
        parts = (value.start, value.stop)
        return ":".join("" if part is None else _show(part, names) for part in parts)
    if isinstance(value, tuple | list):
        inner = ", ".join(_show(item, names) for item in value)
        return f"[{inner}]" if isinstance(value, list) else f"({inner})"
    if value is ...:
        return "..."
    if isinstance(value, torch.device):
        return str(value)
    return repr(value)


def _letter(number: int) -> str:
    return chr(ord("a") + number) if number < 26 else f"a{number}"
