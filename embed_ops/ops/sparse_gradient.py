"""What ``sparse=True`` does: ``weight.grad`` becomes a coalesced sparse COO tensor.

The gradient is computed in compressed form, the rows that lookups name and their values, and never
as a dense table. In eager code an autograd node turns the pair into the sparse tensor.

Sparse tensors are fragile in the compiler's graphs (pytorch/pytorch#173053), and come out of them
uncoalesced. So in compiled code the table is looked up detached, and its place in the autograd
graph is taken by a *placeholder* that belongs to the weight. The rows and values are dense tensors
of the backward graph, which *deposits* them under the weight's *ticket* (``embed_ops::deposit``).
When autograd arrives at the placeholder, outside of the graph, a hook assembles the sparse tensor
there and hands it to autograd as the gradient of the weight: hooks of the weight run, and gradients
accumulate, as in eager code. (Hooks on the weight also run once with None, since the graph has no
gradient for it itself.)

torch keeps no note that the first gradient it accumulates is coalesced, and on CUDA adds two sparse
tensors by putting one behind the other. So a hook on the weight, from the first lookup with
``sparse=True`` on, restores the note or coalesces what has been added up.
"""

from __future__ import annotations

import itertools
import weakref
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.multiprocessing.reductions import StorageWeakRef

from ._registration import Gradients

ops = torch.ops.embed_ops

_SLOT = "_embed_ops_slot"
_new_ticket = itertools.count()
_new_number = itertools.count()
_slots: weakref.WeakValueDictionary[int, Slot] = weakref.WeakValueDictionary()


class Pairs:
    """The compressed gradient of one or several tables that are one weight.

    Args:
        values: of each table, (size, D).
        rows: of each table, (size,).
        num_embeddings: rows of each table.
        num_unique: how many rows of each table are named, if the others are padding.
    """

    def __init__(
        self,
        values: Sequence[Tensor],
        rows: Sequence[Tensor],
        num_embeddings: Sequence[int],
        num_unique: Tensor | None = None,
    ) -> None:
        if num_unique is not None:
            counts = num_unique.reshape(-1).tolist()  # waits for the device
            # Copies: the padded ones are larger, and may lie in memory that a CUDA graph reuses.
            values = [table[:count].clone() for table, count in zip(values, counts, strict=True)]
            rows = [table[:count].clone() for table, count in zip(rows, counts, strict=True)]
        self.values = values
        self.rows = [table.to(torch.int64) for table in rows]
        self.num_embeddings = num_embeddings

    def as_sparse(self, shape: Sequence[int]) -> Tensor:
        """The gradient of a weight of this shape: coalesced.

        A table is a matrix whose rows are sparse. Of several tables in one weight, packed (1-D) or
        side by side (2-D), the elements are.
        """
        if len(shape) == 1:
            firsts = itertools.accumulate(
                (
                    rows * table.shape[1]
                    for rows, table in zip(self.num_embeddings, self.values, strict=True)
                ),
                initial=0,
            )
            elements = [
                first + (rows * table.shape[1])[:, None] + _columns(table)
                for first, rows, table in zip(firsts, self.rows, self.values, strict=False)
            ]
            indices = torch.cat([element.reshape(-1) for element in elements])[None]
            values = torch.cat([table.reshape(-1) for table in self.values])
            return _coalesced(indices, values, shape)
        if len(self.values) == 1:
            return _coalesced(self.rows[0][None], self.values[0], shape)
        firsts = itertools.accumulate((table.shape[1] for table in self.values), initial=0)
        places = [
            torch.stack(torch.broadcast_tensors(rows[:, None], first + _columns(table)))
            for first, rows, table in zip(firsts, self.rows, self.values, strict=False)
        ]
        indices = torch.cat([place.reshape(2, -1) for place in places], dim=1)
        values = torch.cat([table.reshape(-1) for table in self.values])
        return _sparse(indices, values, shape).coalesce()


def _columns(table: Tensor) -> Tensor:
    return torch.arange(table.shape[1], device=table.device)


def _coalesced(indices: Tensor, values: Tensor, shape: Sequence[int]) -> Tensor:
    return _sparse(indices, values, shape, is_coalesced=True)


def _sparse(
    indices: Tensor, values: Tensor, shape: Sequence[int], is_coalesced: bool = False
) -> Tensor:
    # As check_invariants=False, which torch 2.11 still warns about.
    with torch.sparse.check_sparse_tensor_invariants(enable=False):
        return torch.sparse_coo_tensor(indices, values, tuple(shape), is_coalesced=is_coalesced)


class Slot:
    """What belongs to one weight; kept as an attribute of it.

    Attributes:
        placeholder: stands for the weight in compiled autograd graphs.
        ticket: an int64 on the CPU, under which compiled code finds this slot.
    """

    def __init__(self, weight: Tensor) -> None:
        number = next(_new_ticket)
        self._weight = weakref.ref(weight)
        self._deposits: list[tuple[int, Pairs]] = []
        self._made: StorageWeakRef | None = None
        self.ticket = torch.tensor(number)
        # Of one element: Inductor leaves out sums of none, and the deposits that go into them.
        self.placeholder = torch.zeros(
            (), device=weight.device, dtype=weight.dtype, requires_grad=True
        )
        self.placeholder.register_post_accumulate_grad_hook(_Collector(weakref.ref(self)))
        weight.register_post_accumulate_grad_hook(_Keeper(weakref.ref(self)))
        _slots[number] = self

    def __reduce__(self) -> tuple[Any, ...]:
        # A copy of the weight gets a slot of its own when it needs one; what stands in its place in
        # a file can be loaded with weights_only, and without this library.
        return OrderedDict, ()

    def fits(self, weight: Tensor) -> bool:
        return self._weight() is weight and self.placeholder.device == weight.device

    def deposit(self, pairs: Pairs) -> None:
        self._deposits.append((torch._C._current_graph_task_id(), pairs))

    def collect(self) -> None:
        """Hands what this backward has deposited to autograd, as the gradient of the weight."""
        self.placeholder.grad = None
        task = torch._C._current_graph_task_id()
        # Those of a backward that has failed are dropped.
        deposits = [pairs for number, pairs in self._deposits if number == task]
        self._deposits.clear()
        weight = self._weight()
        while deposits and weight is not None:
            with torch.enable_grad():
                carrier = _Carry.apply(weight, self, [deposits.pop(0)])
            carrier.backward()

    def as_gradient(self, pairs: Pairs, shape: Sequence[int]) -> Tensor:
        gradient = pairs.as_sparse(shape)
        self._made = StorageWeakRef(gradient._values().untyped_storage())
        return gradient

    def keep_coalesced(self, weight: Tensor) -> None:
        gradient = weight.grad
        if gradient is None or gradient.layout != torch.sparse_coo or gradient.is_coalesced():
            return
        if self._made == StorageWeakRef(gradient._values().untyped_storage()):
            gradient._coalesced_(True)
        else:
            weight.grad = coalesce(gradient)


class _Collector:
    """The hook of a placeholder."""

    def __init__(self, slot: weakref.ref[Slot]) -> None:
        self._slot = slot

    def __call__(self, placeholder: Tensor) -> None:
        slot = self._slot()
        if slot is not None:
            slot.collect()


class _Keeper:
    """The hook of a weight."""

    def __init__(self, slot: weakref.ref[Slot]) -> None:
        self._slot = slot

    def __call__(self, weight: Tensor) -> None:
        slot = self._slot()
        if slot is not None:
            slot.keep_coalesced(weight)


def coalesce(gradient: Tensor) -> Tensor:
    """A coalesced sparse tensor of the same sum, by this library's kernels where they apply.

    Those are the gradients of a lookup of the rows that ``gradient`` names.
    """
    if gradient.sparse_dim() != 1 or gradient.dense_dim() != 1:
        return gradient.coalesce()
    rows, num_rows = gradient._indices()[0], gradient.shape[0]
    values, rows = ops.embedding_compressed_backward(gradient._values(), rows, num_rows)
    return _coalesced(rows[None], values, gradient.shape)


class _Carry(torch.autograd.Function):
    """Carries a gradient to a weight."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, slot: Slot, deposit: list[Pairs]) -> Tensor:
        ctx.slot, ctx.deposit, ctx.shape = slot, deposit, weight.shape
        return weight.new_zeros(())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, _: Tensor) -> Gradients:
        # Nothing else may keep the values, or autograd copies them.
        return ctx.slot.as_gradient(ctx.deposit.pop(), ctx.shape), None, None


def slot_of(weight: Tensor) -> Slot:
    """The slot of a leaf that requires grad; made when it is asked for first."""
    slot = getattr(weight, _SLOT, None)
    if not isinstance(slot, Slot) or not slot.fits(weight):
        slot = Slot(weight)
        setattr(weight, _SLOT, slot)
    return slot


def _prepare(weight: Tensor) -> None:
    """Runs while code that looks ``weight`` up is traced, with the tensor itself."""
    slot_of(weight)
    _lower_to_identity()


def _is_exporting() -> bool:
    return torch.compiler.is_exporting()


# What torch.compiler.assume_constant_result does, which imports the compiler. Asked in traced code
# itself, torch 2.11's is_exporting always says yes.
for _function in (_prepare, _is_exporting):
    vars(_function)["_dynamo_marked_constant"] = True


def wanted_for(weight: Tensor) -> bool:
    """Whether ``sparse=True`` means anything for this weight, here.

    Not where it gets no gradient. In compiled code not where its gradient flows on into the graph,
    nor in exported programs: there it is dense.
    """
    if not (weight.requires_grad and torch.is_grad_enabled()):
        return False
    if torch.compiler.is_compiling() and _is_exporting():
        return False
    return weight.is_leaf or not torch.compiler.is_compiling()


def attach(
    output: Tensor,
    weight: Tensor,
    indices: Tensor,
    offsets: Tensor | None = None,
    per_sample_weights: Tensor | None = None,
    argmax: Tensor | None = None,
    scale_grad_by_freq: bool = False,
    mode: str = "none",
    include_last_offset: bool = False,
    padding_idx: int = -1,
) -> Tensor:
    """``output``, looked up in ``weight.detach()``, with the sparse gradient of ``weight``.

    Args:
        mode: that of the bags, or ``"none"`` for a lookup without bags.
    """
    tensors = indices, offsets, per_sample_weights, argmax
    options = weight.shape[0], scale_grad_by_freq, mode, include_last_offset, padding_idx
    if torch.compiler.is_compiling():
        _prepare(weight)
        slot = getattr(weight, _SLOT)
        return ops.attach_gradient(output, slot.placeholder, slot.ticket, *tensors, *options)
    return _Attach.apply(output, weight, options, *tensors)


def attach_tables(
    output: Tensor,
    weights: Sequence[Tensor],
    indices: Tensor,
    num_embeddings: Sequence[int],
    embedding_dims: Sequence[int],
    offsets: Tensor | None,
    mode: str,
    per_sample_weights: Tensor | None,
) -> Tensor:
    """:func:`attach` for lookups in several tables: each a weight, or all of them one.

    Weights that get no gradient (:func:`wanted_for`) are left out.
    """
    tensors = indices, offsets, per_sample_weights
    options: Any = list(num_embeddings), list(embedding_dims), mode
    wanted = [number for number, weight in enumerate(weights) if wanted_for(weight)]
    if torch.compiler.is_compiling():
        for number in wanted:
            _prepare(weights[number])
        slots = [getattr(weights[number], _SLOT) for number in wanted]
        return ops.attach_gradients(
            output,
            [slot.placeholder for slot in slots],
            [slot.ticket for slot in slots],
            wanted if len(weights) > 1 else list(range(len(num_embeddings))),
            *tensors,
            *options,
        )
    return _AttachTables.apply(output, tensors, options, wanted, *weights)


class _Attach(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, output: Tensor, weight: Tensor, options: Any, *tensors: Tensor | None
    ) -> Tensor:
        ctx.shape, ctx.options = weight.shape, options
        ctx.slot = slot_of(weight) if weight.is_leaf else None
        ctx.save_for_backward(*tensors)
        return output.view_as(output)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> Gradients:
        pairs = _compressed(grad_output, *ctx.saved_tensors, *ctx.options)
        gradient = _as_gradient(pairs, ctx.shape, ctx.slot)
        return grad_output, gradient, None, *(None,) * len(ctx.saved_tensors)


class _AttachTables(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        output: Tensor,
        tensors: tuple[Tensor | None, ...],
        options: Any,
        wanted: list[int],
        *weights: Tensor,
    ) -> Tensor:
        ctx.options, ctx.wanted = options, wanted
        ctx.shapes = [weight.shape for weight in weights]
        ctx.slots = [
            slot_of(weight) if number in wanted and weight.is_leaf else None
            for number, weight in enumerate(weights)
        ]
        ctx.save_for_backward(*tensors)
        return output.view_as(output)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> Gradients:
        together = _compressed_tables(grad_output, *ctx.saved_tensors, *ctx.options)
        gradients: list[Tensor | None] = [None] * len(ctx.shapes)
        for number in ctx.wanted:
            pairs = together if len(gradients) == 1 else _one_of(together, number)
            gradients[number] = _as_gradient(pairs, ctx.shapes[number], ctx.slots[number])
        return grad_output, None, None, None, *gradients


def _as_gradient(pairs: tuple[Any, ...], shape: Sequence[int], slot: Slot | None) -> Tensor:
    if slot is None:
        return Pairs(*pairs).as_sparse(shape)
    return slot.as_gradient(Pairs(*pairs), shape)


def _compressed(
    grad_output: Tensor,
    indices: Tensor,
    offsets: Tensor | None,
    per_sample_weights: Tensor | None,
    argmax: Tensor | None,
    num_weights: int,
    scale_grad_by_freq: bool,
    mode: str,
    include_last_offset: bool,
    padding_idx: int,
) -> tuple[Any, ...]:
    """The arguments of :class:`Pairs` for a single table."""
    # All rows of a small table, or as many as there are lookups of a large one.
    size = (torch.sym_min(indices.numel(), num_weights),)
    if mode == "none":
        values, rows, *num_unique = _exact_or_padded(
            "embedding_compressed_backward",
            (grad_output, indices, num_weights, padding_idx, scale_grad_by_freq),
            size,
        )
    else:
        values, rows, *num_unique = _exact_or_padded(
            "embedding_bag_compressed_backward",
            (
                grad_output,
                indices,
                offsets,
                per_sample_weights,
                argmax,
                num_weights,
                scale_grad_by_freq,
                mode,
                include_last_offset,
                padding_idx,
            ),
            size,
        )
    return [values], [rows], [num_weights], *num_unique


def _compressed_tables(
    grad_output: Tensor,
    indices: Tensor,
    offsets: Tensor | None,
    per_sample_weights: Tensor | None,
    num_embeddings: list[int],
    embedding_dims: list[int],
    mode: str,
) -> tuple[Any, ...]:
    """The arguments of :class:`Pairs` for all tables together."""
    values, rows, *num_unique = _exact_or_padded(
        "multi_embedding_compressed_backward",
        (grad_output, indices, num_embeddings, embedding_dims, offsets, mode, per_sample_weights),
        (),
    )
    return values, rows, num_embeddings, *num_unique


def _one_of(together: tuple[Any, ...], table: int) -> tuple[Any, ...]:
    values, rows, num_embeddings, *num_unique = together
    counts = [counts[table : table + 1] for counts in num_unique]
    return [values[table]], [rows[table]], [num_embeddings[table]], *counts


def _exact_or_padded(name: str, arguments: tuple[Any, ...], size: tuple[Any, ...]) -> Any:
    """Compiled code may have to do without sizes that only the data say: torch.compile allows them
    with ``fullgraph=True`` or ``torch._dynamo.config.capture_dynamic_output_shape_ops``."""
    try:
        return getattr(ops, name)(*arguments)
    except torch._subclasses.fake_tensor.DynamicOutputShapeException:
        return getattr(ops, f"{name}_padded")(*arguments, *size)


# --------------------------------------------------------------------------------------------------
# The operators of compiled code. They are defined here and not in csrc/schema.cpp, for what they do
# is to hand Python objects on. attach_gradient and attach_gradients return `output`; backward they
# compress its gradient and deposit the result. deposit returns the gradient of the placeholder, so
# that no compiler leaves it out; `number` is another for each, so that none takes two for the same.

_library = torch.library.Library("embed_ops", "FRAGMENT")
_library.define(
    "attach_gradient(Tensor output, Tensor placeholder, Tensor ticket, Tensor indices, "
    "Tensor? offsets, Tensor? per_sample_weights, Tensor? argmax, SymInt num_weights, "
    "bool scale_grad_by_freq, str mode, bool include_last_offset, int padding_idx) -> Tensor"
)
_library.define(
    "attach_gradients(Tensor output, Tensor[] placeholders, Tensor[] tickets, int[] tables, "
    "Tensor indices, Tensor? offsets, Tensor? per_sample_weights, SymInt[] num_embeddings, "
    "int[] embedding_dims, str mode) -> Tensor"
)
_library.define(
    "deposit(Tensor placeholder, Tensor ticket, int number, Tensor[] values, Tensor[] rows, "
    "SymInt[] num_embeddings, Tensor? num_unique=None) -> Tensor",
    # What it does is not in any kernel that a CUDA graph could replay.
    tags=[torch.Tag.cudagraph_unsafe] if hasattr(torch.Tag, "cudagraph_unsafe") else [],
)


def _copy(output: Tensor, *_: Any) -> Tensor:
    return output.clone()


def _deposit(
    placeholder: Tensor,
    ticket: Tensor,
    number: int,
    values: list[Tensor],
    rows: list[Tensor],
    num_embeddings: list[int],
    num_unique: Tensor | None = None,
) -> Tensor:
    slot = _slots.get(int(ticket))
    if slot is not None:  # otherwise the weight is gone
        slot.deposit(Pairs(values, rows, num_embeddings, num_unique))
    return torch.zeros_like(placeholder)


def _like(first: Tensor, *_: Any) -> Tensor:
    return torch.empty_like(first)


for _key in ("CPU", "CUDA"):
    _library.impl("attach_gradient", _copy, _key)
    _library.impl("attach_gradients", _copy, _key)
    _library.impl("deposit", _deposit, _key)
torch.library.register_fake("embed_ops::attach_gradient", _like)
torch.library.register_fake("embed_ops::attach_gradients", _like)
torch.library.register_fake("embed_ops::deposit", _like)


def _save_for_attach(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    _, placeholder, ticket, *rest = inputs
    tensors, ctx.options = rest[:4], rest[4:]
    ctx.save_for_backward(placeholder, ticket, *tensors)


def _backward_of_attach(ctx: Any, grad_output: Tensor) -> Gradients:
    placeholder, ticket, *tensors = ctx.saved_tensors
    pairs = _compressed(grad_output, *tensors, *ctx.options)
    return grad_output, _deposited(placeholder, ticket, pairs), *(None,) * 10


def _save_for_attach_tables(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    _, placeholders, tickets, ctx.tables, *rest = inputs
    tensors, ctx.options = rest[:3], rest[3:]
    ctx.count = len(placeholders)
    ctx.save_for_backward(*placeholders, *tickets, *tensors)


def _backward_of_attach_tables(ctx: Any, grad_output: Tensor) -> Gradients:
    placeholders, rest = ctx.saved_tensors[: ctx.count], ctx.saved_tensors[ctx.count :]
    tickets, tensors = rest[: ctx.count], rest[ctx.count :]
    together = _compressed_tables(grad_output, *tensors, *ctx.options)
    if ctx.count < len(ctx.tables):
        pairs = [together]  # all tables are one weight
    else:
        pairs = [_one_of(together, table) for table in ctx.tables]
    gradients = list(map(_deposited, placeholders, tickets, pairs))
    return grad_output, gradients, [None] * ctx.count, *(None,) * 7


def _deposited(placeholder: Tensor, ticket: Tensor, pairs: tuple[Any, ...]) -> Tensor:
    """The gradient of the placeholder."""
    return ops.deposit(placeholder, ticket, next(_new_number), *pairs)


torch.library.register_autograd(
    "embed_ops::attach_gradient", _backward_of_attach, setup_context=_save_for_attach
)
torch.library.register_autograd(
    "embed_ops::attach_gradients", _backward_of_attach_tables, setup_context=_save_for_attach_tables
)


def _lower_to_identity() -> None:
    """Inductor: attach_gradient returns its first argument, not a copy of it."""
    from ..inductor import _torch

    _torch.lower_to_first_argument(ops.attach_gradient.default, ops.attach_gradients.default)
