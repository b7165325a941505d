"""What belongs to a weight with sparse gradients, and the hooks that bring them there."""

from __future__ import annotations

import itertools
import weakref
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef

from .._registration import Gradients, autograd_function
from .coo import Pairs, coalesce

# The attribute of a weight.
SLOT = "_embed_ops_slot"
_new_ticket = itertools.count()
_slots: weakref.WeakValueDictionary[int, Slot] = weakref.WeakValueDictionary()


class _Deposits(list[Pairs]):
    """Those of one backward."""

    def kept(self) -> None:
        """Called when the backward ends."""


class Slot:
    """What belongs to one weight; kept as an attribute of it.

    Attributes:
        placeholder: stands for the weight in compiled autograd graphs.
        ticket: an int64 on the CPU, under which compiled code finds this slot.
    """

    def __init__(self, weight: Tensor) -> None:
        number = next(_new_ticket)
        self._weight = weakref.ref(weight)
        self._deposits: weakref.WeakValueDictionary[int, _Deposits] = weakref.WeakValueDictionary()
        self._made: StorageWeakRef | None = None
        self.ticket = torch.tensor(number)
        # Of one element: Inductor leaves out sums of none, and the deposits that go into them.
        self.placeholder = torch.zeros(
            (), device=weight.device, dtype=weight.dtype, requires_grad=True
        )
        self.placeholder.register_post_accumulate_grad_hook(_Hook(self, Slot.collect))
        weight.register_post_accumulate_grad_hook(_Hook(self, Slot.keep_coalesced))
        _slots[number] = self

    def __reduce__(self) -> tuple[Any, ...]:
        # A copy of the weight gets a slot of its own when it needs one; what stands in its place in
        # a file can be loaded with weights_only, and without this library.
        return OrderedDict, ()

    def fits(self, weight: Tensor) -> bool:
        return self._weight() is weight and self.placeholder.device == weight.device

    def deposit(self, pairs: Pairs) -> None:
        """Keeps ``pairs`` for the backward that runs."""
        task = torch._C._current_graph_task_id()
        deposits = self._deposits.get(task)
        if deposits is None:
            deposits = self._deposits[task] = _Deposits()
            # Only the backward that runs keeps them: they go with it when it never arrives at the
            # placeholder, or fails.
            torch.autograd.Variable._execution_engine.queue_callback(deposits.kept)
        deposits.append(pairs)

    def collect(self, placeholder: Tensor) -> None:
        """Hands what this backward has deposited to autograd, as the gradient of the weight."""
        placeholder.grad = None
        deposits = self._deposits.pop(torch._C._current_graph_task_id(), _Deposits())
        weight = self._weight()
        while deposits and weight is not None:
            with torch.enable_grad():
                carrier = _carry(weight, self, [deposits.pop(0)])
            # What carrier.backward() does; its checks take longer than the engine. The node looks
            # at no gradient, but the engine wants one.
            torch.autograd.Variable._execution_engine.run_backward(
                (carrier,), (carrier.detach(),), False, False, (), True, True
            )

    def as_gradient(self, pairs: Pairs, shape: torch.Size) -> Tensor:
        gradient = pairs.as_sparse(shape)
        self._made = StorageWeakRef(gradient._values().untyped_storage())
        return gradient

    def keep_coalesced(self, weight: Tensor) -> None:
        gradient = weight.grad
        if gradient is None or not gradient.is_sparse or gradient.is_coalesced():
            return
        # No other storage has the address of one that a reference is kept to, if but a weak one.
        storage = gradient._values().untyped_storage()
        if self._made is not None and self._made.cdata == storage._cdata:
            gradient._coalesced_(True)
        else:
            weight.grad = coalesce(gradient)


class _Hook:
    """Calls a slot's method, while there is the slot: a weight's hooks must not keep the weight."""

    def __init__(self, slot: Slot, method: Callable[[Slot, Tensor], None]) -> None:
        self._slot = weakref.ref(slot)
        self._method = method

    def __call__(self, tensor: Tensor) -> None:
        slot = self._slot()
        if slot is not None:
            self._method(slot, tensor)


def _take(ctx: Any, weight: Tensor, slot: Slot, deposit: list[Pairs]) -> Tensor:
    ctx.slot, ctx.deposit, ctx.shape = slot, deposit, weight.shape
    return slot.placeholder.detach()  # A tensor that costs no launch.


def _hand_over(ctx: Any, _: Tensor) -> Gradients:
    # Nothing else may keep the values, or autograd copies them.
    return ctx.slot.as_gradient(ctx.deposit.pop(), ctx.shape), None, None


# Carries a gradient to a weight.
_carry = autograd_function("Carry", _take, _hand_over)


def slot_of(weight: Tensor) -> Slot:
    """The slot of a leaf that requires grad; made when it is asked for first."""
    slot = getattr(weight, SLOT, None)
    if not isinstance(slot, Slot) or not slot.fits(weight):
        slot = Slot(weight)
        setattr(weight, SLOT, slot)
    return slot


def collecting(ticket: Tensor) -> Slot | None:
    """The slot that has this ticket, unless nobody would collect from it: its weight is gone, or no
    backward runs."""
    return _slots.get(int(ticket)) if torch._C._current_graph_task_id() >= 0 else None
