"""Reading and editing the graphs that Dynamo hands to a backend.

Such a graph is what the model's Python did: functions and methods of torch, not yet functional, not
yet differentiated. Every node that stands for a tensor (or a size) carries a fake one as
``meta["example_value"]``.
"""

from __future__ import annotations

import functools
import inspect
import operator
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import PurePath
from typing import Any

import torch
from torch import SymInt, Tensor
from torch._ops import HigherOrderOperator, OpOverload, OpOverloadPacket
from torch.fx import GraphModule, Node
from torch.fx.node import map_arg

from . import _torch

Size = int | SymInt

# Bodies that run as if they stood in the graph itself. Others are left alone: what a loop, a branch
# or flex_attention makes of its body is its own affair.
_TRANSPARENT = ("tag_activation_checkpoint", "wrap", "invoke_subgraph")

_IN_PLACE = {
    operator.iadd,
    operator.isub,
    operator.imul,
    operator.itruediv,
    operator.ifloordiv,
    operator.imod,
    operator.ipow,
    operator.iand,
    operator.ior,
    operator.ixor,
    operator.ilshift,
    operator.irshift,
    operator.imatmul,
    operator.setitem,
    operator.delitem,
}


def value(node: Any) -> Any:
    """The fake tensor or the symbolic size of a node; anything else is returned as it is."""
    return node.meta.get("example_value") if isinstance(node, Node) else node


def is_tensor(node: Any) -> bool:
    return isinstance(node, Node) and isinstance(value(node), Tensor)


def is_plain(node: Any) -> bool:
    """Whether a node is a dense tensor, made of nothing else and outside of any transform."""
    return (
        is_tensor(node)
        and value(node).layout == torch.strided
        and not _torch.is_subclass(value(node))
        and not _torch.is_in_transform(value(node))
    )


def args_of(node: Node) -> Sequence[Any]:
    """The positional arguments, without the union of all that an argument may be."""
    return node.args


def modules_in(graph_module: GraphModule) -> list[GraphModule]:
    """The graph, and the bodies that are part of it, such as checkpointed ones; each once."""
    found = [graph_module]
    for module in found:
        for node in module.graph.nodes:
            if isinstance(node.target, HigherOrderOperator) and node.target.name() in _TRANSPARENT:
                body = getattr(module, str(args_of(node)[0].target), None)
                if isinstance(body, GraphModule) and body not in found:
                    found.append(body)
    return found


def is_op(node: Any, op: OpOverloadPacket) -> bool:
    """Whether a node calls an operator, through its packet or its overload."""
    return isinstance(node, Node) and node.op == "call_function" and node.target in (op, op.default)


def calls(node: Any, *targets: Callable[..., Any] | str) -> bool:
    """Whether a node calls one of these functions, or one of these methods given by name, for a
    result of its own: a call with ``out=`` is another thing."""
    return (
        isinstance(node, Node)
        and node.op in ("call_function", "call_method")
        and node.target in targets
        and "out" not in node.kwargs
    )


def arguments(node: Node) -> dict[str, Any]:
    """The arguments of a call by name, defaults included.

    Raises:
        TypeError: the function has no signature, or the call does not fit it.
    """
    target: Any = node.target
    if isinstance(target, OpOverloadPacket):
        target = target.default
    if isinstance(target, OpOverload):
        schema = target._schema.arguments
        bound = {a.name: a.default_value for a in schema if a.has_default_value()}
        bound |= {a.name: given for a, given in zip(schema, node.args, strict=False)}
        return bound | node.kwargs
    filled = _signature(target).bind(*node.args, **node.kwargs)
    filled.apply_defaults()
    return filled.arguments


@functools.cache
def _signature(function: Callable[..., Any]) -> inspect.Signature:
    try:
        return inspect.signature(function)
    except ValueError as error:
        raise TypeError(f"{function} has no signature") from error


def describe(tensor: Node) -> str:
    """dtype and shape, such as ``int64[64, 20]``."""
    fake = value(tensor)
    dtype = str(fake.dtype).removeprefix("torch.")
    return f"{dtype}[{', '.join(str(size) for size in fake.shape)}]"


def place(node: Node) -> str:
    """Where the model does this: the module's path, or the line of source."""
    stack = node.meta.get("nn_module_stack") or {}
    if stack:
        path, _ = list(stack.values())[-1]
        path = re.sub(r"^[LG]\[[^\]]*\]\.?", "", str(path))
        path = re.sub(r"_modules\['([^']*)'\]", r"\1", path)
        if path:
            return path
    lines = re.findall(r'File "([^"]*)", line (\d+)', node.meta.get("stack_trace") or "")
    if lines:
        file, line = lines[-1]
        return f"{PurePath(file).name}:{line}"
    return node.name


def is_barrier(node: Node) -> bool:
    """Whether others may not be moved across this node.

    That is what writes to a tensor, what changes how the following nodes run (grad mode, autocast,
    a torch.func transform), and whatever is not known not to.
    """
    if node.op in ("placeholder", "get_attr", "output"):
        return False
    if node.op == "call_method":
        name = str(node.target)
        return name.endswith("_") and not name.endswith("__")
    if node.op != "call_function" or "example_value" not in node.meta:
        return True
    target: Any = node.target
    if isinstance(target, HigherOrderOperator) or target in _IN_PLACE:
        return True
    if isinstance(target, OpOverloadPacket):
        target = target.default
    if isinstance(target, OpOverload):
        return target._schema.is_mutable
    if getattr(target, "__name__", "").endswith("_") or "out" in node.kwargs:
        return True
    try:
        given = arguments(node)
    except TypeError:
        return bool(node.kwargs.get("inplace"))
    return bool(given.get("inplace")) or given.get("max_norm") is not None


def is_barrier_between(first: Node, second: Node) -> bool:
    """Whether there is a barrier on the way from one node to a later one."""
    return any(map(is_barrier, nodes_between(first, second)))


def nodes_between(first: Node, second: Node) -> Iterator[Node]:
    """Those that stand between one node and a later one."""
    node = first.next
    while node is not second:
        yield node
        node = node.next


class Builder:
    """Adds calls to a graph, with their fake values.

    Args:
        before: where they go.
        like: the node they stand in for: they take its place in the model's source, and need a
            gradient where it does.
    """

    def __init__(self, before: Node, like: Node) -> None:
        self._before = before
        self.like = like

    def call(self, target: Callable[..., Any], *args: Any, **kwargs: Any) -> Node:
        graph = self._before.graph
        with graph.inserting_before(self._before):
            node = graph.call_function(target, args, kwargs)
        for key in ("stack_trace", "nn_module_stack"):
            if key in self.like.meta:
                node.meta[key] = self.like.meta[key]
        node.meta["example_value"] = self._evaluate(target, args, kwargs)
        return node

    def cast(self, tensor: Node, dtype: torch.dtype) -> Node:
        if value(tensor).dtype == dtype:
            return tensor
        return self.call(torch.ops.aten._to_copy.default, tensor, dtype=dtype)

    def size(self, tensor: Node, dim: int) -> int | Node:
        """The size of a dimension: a number, or a node where it is symbolic."""
        size = value(tensor).shape[dim]
        if isinstance(size, int):
            return size
        return self.call(torch.ops.aten.sym_size.int, tensor, dim)

    def compute(self, function: Callable[..., Any], *sizes: int | Node) -> int | Node:
        """A function of sizes, computed now if they are numbers."""
        if any(isinstance(size, Node) for size in sizes):
            return self.call(function, *sizes)
        return function(*sizes)

    def _evaluate(self, target: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        from torch._dispatch.python import enable_python_dispatcher

        like = value(self.like)
        with (
            like.fake_mode,
            enable_python_dispatcher(),
            torch.set_grad_enabled(like.requires_grad),
        ):
            return target(*map_arg(args, value), **map_arg(kwargs, value))


def replace(old: Node, new: Node) -> None:
    """Puts ``new`` in the place of ``old``."""
    old.replace_all_uses_with(new)
    old.graph.erase_node(old)


def size_is(size: Size, other: Size) -> bool:
    """Whether two sizes are equal whatever the graph will run with."""
    return _torch.statically_true(size == other)
