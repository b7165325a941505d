"""What this package uses of torch beyond its documented interfaces, and where releases differ.

Everything here exists in torch 2.10 and later. It is imported when a model is compiled, not with
embed_ops: Inductor takes a while to import.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch.fx import Graph, GraphModule

from .direct import register_lowerings

GraphPass = Callable[[Graph], None]

# Where Inductor lets others at the graphs that it makes code from, forward and backward.
_HOOK = "post_grad_custom_pre_pass"


def compile_with_inductor(
    graph_module: GraphModule,
    example_inputs: list[Any],
    mode: str | None,
    options: dict[str, Any] | None,
    post_grad_pass: GraphPass,
    uuid: str,
) -> Callable[..., Any]:
    """What ``torch.compile(backend="inductor")`` does with a graph, and one pass more.

    Args:
        graph_module, example_inputs: as Dynamo hands them to a backend.
        mode, options: as of ``torch.compile``.
        post_grad_pass: called with each ATen graph, after differentiation.
        uuid: stands for the pass in the keys of Inductor's and AOTAutograd's caches.

    Raises:
        RuntimeError: an unknown mode or option, with Inductor's text.
    """
    from torch._inductor import config

    register_lowerings()
    # The object torch.compile itself makes for "inductor": what a mode means and which options
    # exist is Inductor's business.
    inductor = torch._TorchCompileInductorWrapper(mode, options, None)
    theirs = inductor.config.get(_HOOK, getattr(config, _HOOK))
    inductor.config[_HOOK] = _after(theirs, _with_uuid(post_grad_pass, uuid))
    return inductor(graph_module, example_inputs)


@functools.cache
def lower_to_first_argument(*operators: Any) -> None:
    """Tells Inductor that these operators return their first argument."""
    from torch._inductor.lowering import register_lowering

    for operator in operators:
        register_lowering(operator, type_promotion_kind=None)(lambda first, *_: first)


def reset_inductor() -> None:
    """What ``torch.compiler.reset`` asks of Inductor: to forget its CUDA graphs, if it has any."""
    trees = sys.modules.get("torch._inductor.cudagraph_trees")
    if trees is not None:
        trees.reset_cudagraph_trees()


def statically_true(condition: Any) -> bool:
    """Whether this holds for every size that the graph will run with; adds no guard."""
    from torch.fx.experimental.symbolic_shapes import statically_known_true

    return bool(statically_known_true(condition))


def size_hint(size: int | torch.SymInt) -> int:
    """A size, or the one that a symbolic size has in the example; adds no guard."""
    if isinstance(size, int):
        return size
    return int(size.node.hint) if size.node.has_hint() else 1


def is_subclass(tensor: torch.Tensor) -> bool:
    """Whether this is a DTensor, a nested tensor or another tensor made of tensors."""
    from torch.utils._python_dispatch import is_traceable_wrapper_subclass

    return is_traceable_wrapper_subclass(tensor)


def is_in_transform(tensor: torch.Tensor) -> bool:
    """Whether this tensor belongs to a torch.func transform, such as vmap, inside of the graph."""
    return torch._C._functorch.is_functorch_wrapped_tensor(tensor)


def _with_uuid(graph_pass: GraphPass, uuid: str) -> Any:
    from torch._inductor.custom_graph_pass import CustomGraphPass

    class PassWithUuid(CustomGraphPass):
        def __call__(self, graph: Graph) -> None:
            graph_pass(graph)

        def uuid(self) -> str:
            return uuid

    return PassWithUuid()


def _after(theirs: Any, ours: Any) -> Any:
    """The user's own pass in the same place, and then ours."""
    from torch._inductor import custom_graph_pass

    if theirs is None:
        return ours
    if hasattr(custom_graph_pass, "get_custom_graph_passes"):
        return [*custom_graph_pass.get_custom_graph_passes(theirs), ours]

    # torch < 2.13 takes a single pass.
    class BothPasses(custom_graph_pass.CustomGraphPass):
        def __call__(self, graph: Graph) -> None:
            theirs(graph)
            ours(graph)

        def uuid(self) -> Any:
            # None, for a pass that Inductor cannot cache, keeps the whole from being cached.
            own = theirs.uuid() if isinstance(theirs, custom_graph_pass.CustomGraphPass) else None
            return own and (own, ours.uuid())

    return BothPasses()
