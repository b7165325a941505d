"""How compiled code calls the ops: straight to the kernel of the device.

Inductor calls what it has no code for through the dispatcher, where ours would meet Python again on
the way to autograd, for nothing, and then asserts the result to be what our fake kernels have said.
The price: a profiler sees the kernels, but not the op.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch._ops import OpOverload

from .. import _library

_DISPATCH_KEYS = {"cpu": "CPU", "cuda": "CUDA"}


@functools.cache
def register_lowerings() -> None:
    """Tells Inductor; to be called when it has been imported, which takes a while."""
    from torch._inductor import ir, lowering
    from torch._inductor.virtualized import V
    from torch._library.utils import get_layout_constraint_tag
    from torch.utils._pytree import tree_map_only

    class DirectCall(ir.FallbackKernel):
        """A call of an op; in Python code, of its kernel."""

        def codegen(self, wrapper: Any) -> None:
            if self.dispatch_key() is not None:
                self.python_kernel_name = f"torch.ops.{self.op_overload}._op_dk"
            super().codegen(wrapper)

        def codegen_args(self) -> list[str]:
            args: list[str] = super().codegen_args()
            key = self.dispatch_key()
            if key is None:
                return args
            # By position, up to the last that is not its default: each takes time to look at.
            text = V.graph.wrapper_code.val_to_arg_str
            op: Any = self.op_overload
            schema = op._schema.arguments
            defaults = [text(argument.default_value) for argument in schema]
            for argument in schema[len(args) :]:
                args.append(text(self.kwargs.get(argument.name, argument.default_value)))
            while schema[len(args) - 1].has_default_value() and args[-1] == defaults[len(args) - 1]:
                args.pop()
            return [f"torch._C.DispatchKey.{key}", *args]

        def codegen_kwargs(self, skip_out: bool = False) -> list[str]:
            return super().codegen_kwargs(skip_out) if self.dispatch_key() is None else []

        def dispatch_key(self) -> str | None:
            """None where the dispatcher has to find the kernel."""
            device: Any = self.get_device()
            return None if V.graph.cpp_wrapper else _DISPATCH_KEYS.get(device.type)

    def lowering_of(op: OpOverload) -> Callable[..., Any]:
        def wrap(node: Any) -> Any:
            if isinstance(node, ir.MultiOutput):
                # The tests hold the fake kernels to the truth.
                node.skip_size_stride_alignment_checks = True
            return ir.TensorBox.create(node)

        def lower(*args: Any, **kwargs: Any) -> Any:
            return tree_map_only(ir.IRNode, wrap, DirectCall.create(op, *args, **kwargs))

        return lower

    for name in _library.op_names():
        op = getattr(torch.ops.embed_ops, name).default
        if op._schema.is_mutable:
            continue  # The way through autograd matters: it tells that a tensor has changed.
        if op._defined_in_python:
            continue  # No kernel to go straight to; attach_gradient has a lowering of its own.
        constraint = lowering.tag_to_layout_constraint(get_layout_constraint_tag(op))
        if constraint is not None:
            lowering.add_layout_constraint(op, constraint)
        lowering.add_needs_realized_inputs(op)
        lowering.register_lowering(op, type_promotion_kind=None)(lowering_of(op))
