"""The two halves of a peer: its lookups, and how they are called for each kind of problem."""

from __future__ import annotations

import contextlib
import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from ..problems import (
    BagBackward,
    BagForward,
    CompressedBackward,
    LookupBackward,
    LookupForward,
    LookupStep,
    ModelStep,
    Modules,
    MultiForward,
    MultiStep,
    PooledTables,
    Problem,
    Result,
    SparseStep,
)


class UnsupportedError(Exception):
    """A peer that does not do such a problem; the text says why."""


@dataclass(frozen=True)
class Call:
    """What is timed; ``capturable`` is False where a CUDA graph is not worth trying."""

    run: Callable[[], Result]
    capturable: bool = True


@dataclass(frozen=True)
class MultiTables:
    """Many tables as a peer stores them.

    Attributes:
        parameters: the tensors that get gradients.
        look_up: (indices, *parameters) -> (B, sum of widths).
        split: gradients of ``parameters`` -> one gradient per table.
    """

    parameters: list[Tensor]
    look_up: Callable[..., Tensor]
    split: Callable[[Sequence[Tensor]], Sequence[Tensor]]


class Functions:
    """Somebody's lookups. What is not overridden is unsupported.

    Indices of a plain lookup are 1-D. ``like`` has shape (rows, 0) and only says how many rows a
    gradient has. Functions take no part in timing; they may prepare outside it whatever a user of
    that library would have at hand in that form.
    """

    def absent(self, device: torch.device) -> str | None:
        """Why these functions cannot be used on this machine and device, or None."""
        return None

    def embedding(self, indices: Tensor, weight: Tensor) -> Tensor:
        raise UnsupportedError("has no plain lookup")

    def embedding_backward(self, grad: Tensor, indices: Tensor, like: Tensor) -> Tensor:
        raise UnsupportedError("has no dense backward of a plain lookup")

    def bag(self, problem: BagForward) -> tuple[Callable[..., Tensor], tuple[Any, ...]]:
        """A function and its arguments, for :attr:`BagForward.kind`."""
        raise UnsupportedError("has no pooled lookup")

    def bag_backward(self, problem: BagBackward) -> tuple[Callable[..., Tensor], tuple[Any, ...]]:
        """A function and its arguments, for :attr:`BagBackward.kind`."""
        raise UnsupportedError("has no dense backward of a pooled lookup")

    def compressed_backward(
        self, problem: CompressedBackward
    ) -> Callable[[], tuple[Tensor, Tensor]]:
        """A function that returns values and rows."""
        raise UnsupportedError("has no compressed gradient")

    def multi(self, tables: Sequence[Tensor]) -> MultiTables:
        raise UnsupportedError("has no lookup of many tables")

    def pooled_tables(self, problem: PooledTables) -> tuple[Callable[..., Tensor], tuple[Any, ...]]:
        """A function and its arguments, for :attr:`PooledTables.kind`."""
        raise UnsupportedError("has no pooled lookup of many tables")

    def modules(self) -> Modules:
        raise UnsupportedError("has no modules to build a model from")

    def capturable(self, problem: Problem) -> bool:
        """Whether a call can be captured in a CUDA graph."""
        return True


class Compiler(Protocol):
    """How functions are called: as they are, or compiled."""

    capturable: bool
    compiles: bool

    def absent(self, device: torch.device) -> str | None:
        """Why this compiler cannot be used, or None."""

    def compilations(self) -> int:
        """How many graphs have been compiled in this process."""

    def settings(self) -> AbstractContextManager[None]:
        """In which everything runs: global settings of the compiler."""

    def compile(self, key: object, fn: Callable[..., Any]) -> Callable[..., Any]:
        """``fn`` compiled; the same object again for the same key, whichever ``fn`` then is.

        With key None nothing is kept: for what belongs to one problem alone.
        """

    def dynamic(self, *tensors: Tensor) -> None:
        """Dimension 0 of these inputs varies from call to call."""

    def fixed_address(self, *tensors: Tensor) -> None:
        """These inputs keep their memory from call to call, as parameters do."""

    def begin_step(self) -> None:
        """What has to be said before each forward."""

    def from_nothing(self, device: torch.device) -> AbstractContextManager[None]:
        """In which a compilation finds nothing compiled before, but for what this process has
        compiled for the same backend in the same way."""


class Peer(ABC):
    """One column of the comparison."""

    name: str

    @abstractmethod
    def absent(self, device: torch.device) -> str | None:
        """Why this peer is left out on this device, or None."""

    @abstractmethod
    def compilations(self) -> int:
        """How many graphs have been compiled in this process; the difference is what counts."""

    @abstractmethod
    def settings(self) -> AbstractContextManager[None]:
        """Entered once, around all problems of a run."""

    @abstractmethod
    def prepare(self, problem: Problem) -> Call:
        """What to time. Raises UnsupportedError."""


class FunctionPeer(Peer):
    """Functions under a compiler."""

    def __init__(self, name: str, functions: Functions, compiler: Compiler) -> None:
        self.name = name
        self.functions = functions
        self.compiler = compiler

    def absent(self, device: torch.device) -> str | None:
        return self.functions.absent(device) or self.compiler.absent(device)

    def compilations(self) -> int:
        return self.compiler.compilations()

    def settings(self) -> AbstractContextManager[None]:
        return self.compiler.settings()

    def prepare(self, problem: Problem) -> Call:
        run: Callable[[], Result] = getattr(self, problem.kind)(problem)
        # Accumulating into .grad is tied to streams in ways that trip over a capture.
        capturable = not isinstance(problem, ModelStep | SparseStep)
        capturable = capturable and self.compiler.capturable and self.functions.capturable(problem)
        return Call(run, capturable)

    def lookup_forward(self, problem: LookupForward) -> Callable[[], Result]:
        weight, indices = problem.weight, problem.indices
        self.compiler.dynamic(weight, indices)
        self.compiler.fixed_address(weight)
        look_up = self.compiler.compile("lookup", self.functions.embedding)
        return lambda: {"output": self._forward(look_up, indices, weight)}

    def lookup_backward(self, problem: LookupBackward) -> Callable[[], Result]:
        arguments = problem.grad, problem.indices, problem.like
        self.compiler.dynamic(*arguments)
        backward = self.compiler.compile("lookup_backward", self.functions.embedding_backward)
        return lambda: {"grad_weight": self._forward(backward, *arguments)}

    def lookup_step(self, problem: LookupStep) -> Callable[[], Result]:
        if problem.with_head:
            return self._lookup_step_with_head(problem)
        indices, grad = problem.indices, problem.grad
        (weight,) = _own_leaves(problem.weight)
        self.compiler.dynamic(weight, indices)
        self.compiler.fixed_address(weight)
        look_up = self.compiler.compile("lookup_training", self.functions.embedding)

        def run() -> Result:
            self.compiler.begin_step()
            output = look_up(indices, weight)
            (grad_weight,) = torch.autograd.grad(output, (weight,), grad)
            return {"output": output.detach(), "grad_weight": grad_weight}

        return run

    def _lookup_step_with_head(self, problem: LookupStep) -> Callable[[], Result]:
        head, weight = _own_leaves(problem.head, problem.weight)
        arguments = problem.indices, head, problem.sample_weights, weight
        self.compiler.dynamic(problem.indices, problem.sample_weights, weight)
        self.compiler.fixed_address(head, weight)
        loss_of = self.compiler.compile("lookup_loss", _loss_of(self.functions.embedding))
        return lambda: self._step(loss_of, arguments, ["grad_weight"])

    def bag_forward(self, problem: BagForward) -> Callable[[], Result]:
        function, arguments = self.functions.bag(problem)
        compiled = self._compiled_bag(problem, function, arguments)
        return lambda: {"output": self._forward(compiled, *arguments)}

    def bag_backward(self, problem: BagBackward) -> Callable[[], Result]:
        function, arguments = self.functions.bag_backward(problem)
        compiled = self._compiled_bag(problem, function, arguments)
        return lambda: {"grad_weight": self._forward(compiled, *arguments)}

    def _compiled_bag(
        self,
        problem: BagForward | BagBackward,
        function: Callable[..., Tensor],
        arguments: tuple[Any, ...],
    ) -> Callable[..., Tensor]:
        tensors = [a for a in arguments if isinstance(a, Tensor)]
        self.compiler.dynamic(*tensors)
        if isinstance(problem, BagForward):
            self.compiler.fixed_address(problem.weight)
        layout = problem.hotness or "csr", problem.mode, problem.per_sample_weights is None
        return self.compiler.compile((problem.kind, *layout), function)

    def compressed_backward(self, problem: CompressedBackward) -> Callable[[], Result]:
        if self.compiler.compiles:
            raise UnsupportedError("one operator: there is nothing to compile")
        function = self.functions.compressed_backward(problem)

        def run() -> Result:
            values, rows = function()
            return {"values": values, "rows": rows}

        return run

    def sparse_step(self, problem: SparseStep) -> Callable[[], Result]:
        rows, width = problem.weight.shape
        module = self.functions.modules().embedding(
            rows, width, sparse=problem.sparse, _weight=problem.weight.clone()
        )
        optimizer = torch.optim.SGD(module.parameters(), lr=problem.LEARNING_RATE)
        look_up: Callable[..., Tensor] = self.compiler.compile(None, module)
        parameter = module.get_parameter("weight")

        def run() -> Result:
            self.compiler.begin_step()
            optimizer.zero_grad(set_to_none=True)
            look_up(problem.indices).backward(problem.grad)
            optimizer.step()
            return {"weight": parameter.detach()}

        return run

    def multi_forward(self, problem: MultiForward) -> Callable[[], Result]:
        tables = self.functions.multi(problem.tables)
        self.compiler.dynamic(problem.indices)
        self.compiler.fixed_address(*tables.parameters)
        look_up = self.compiler.compile(_sizes_key("multi", problem), tables.look_up)
        arguments = problem.indices, *tables.parameters
        return lambda: {"output": self._forward(look_up, *arguments)}

    def multi_step(self, problem: MultiStep) -> Callable[[], Result]:
        tables = self.functions.multi(problem.tables)
        head, *parameters = _own_leaves(problem.head, *tables.parameters)
        self.compiler.dynamic(problem.indices, problem.sample_weights)
        self.compiler.fixed_address(head, *parameters)
        loss_of = self.compiler.compile(_sizes_key("multi_loss", problem), _loss_of(tables.look_up))
        arguments = problem.indices, head, problem.sample_weights, *parameters
        names = [str(n) for n in range(len(parameters))]

        def run() -> Result:
            result = self._step(loss_of, arguments, names)
            gradients = tables.split([result.pop(name) for name in names])
            return {**result, **{f"grad_{t}": gradient for t, gradient in enumerate(gradients)}}

        return run

    def pooled_tables(self, problem: PooledTables) -> Callable[[], Result]:
        function, arguments = self.functions.pooled_tables(problem)
        compiled = self.compiler.compile(_sizes_key("pooled", problem), function)
        return lambda: {"output": self._forward(compiled, *arguments)}

    def model_step(self, problem: ModelStep) -> Callable[[], Result]:
        training = problem.training
        model = training.model(self.functions.modules())
        parameters = dict(model.named_parameters())
        optimizer = training.optimizer(model)
        around: Iterator[AbstractContextManager[None]] = itertools.repeat(contextlib.nullcontext())
        if self.name not in training.compiled:
            training.compiled[self.name] = self.compiler.compile(None, model)
            around = itertools.chain([self.compiler.from_nothing(training.device)], around)
        forward = training.compiled[self.name]

        def run() -> Result:
            self.compiler.begin_step()
            with next(around), training.precision():
                with training.context():
                    loss = forward(*training.inputs)
                loss.backward()
            if problem.with_optimizer:
                optimizer.step()
            gradients = {f"grad {n}": p.grad for n, p in parameters.items() if p.grad is not None}
            # They live as long as the result: those of a recommender are as large as its tables.
            optimizer.zero_grad(set_to_none=True)
            return {"loss": loss.detach(), **gradients}

        return run

    def _forward(self, function: Callable[..., Tensor], *arguments: Any) -> Tensor:
        self.compiler.begin_step()
        with torch.no_grad():
            return function(*arguments)

    def _step(
        self, loss_of: Callable[..., Tensor], arguments: Sequence[Tensor], names: Sequence[str]
    ) -> Result:
        """Forward and backward; ``arguments`` are indices, head, sample weights and the tables."""
        self.compiler.begin_step()
        loss = loss_of(*arguments)
        wanted = arguments[1], *arguments[3:]
        gradients = torch.autograd.grad(loss, wanted)
        return {
            "loss": loss.detach(),
            "grad_head": gradients[0],
            **dict(zip(names, gradients[1:], strict=True)),
        }


def _own_leaves(*tensors: Tensor) -> list[Tensor]:
    """The same memory as leaves of one peer alone. Autograd ties a leaf to the stream on which its
    gradient was asked for first, and keeps that as long as any graph over the leaf lives: one that
    another peer has used, and whose graph a replayed CUDA graph holds, could not be captured."""
    return [tensor.detach().requires_grad_() for tensor in tensors]


def _loss_of(look_up: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The step of FastEmbedding's benchmark: lookup, Linear(width, 1), a weighted sum."""

    def loss(indices: Tensor, head: Tensor, sample_weights: Tensor, *tables: Tensor) -> Tensor:
        output = F.linear(look_up(indices, *tables), head)
        return (output.squeeze(1) * sample_weights).sum()

    return loss


def _sizes_key(kind: str, problem: MultiForward | PooledTables) -> tuple[object, ...]:
    return (kind, *problem.sizes, *problem.widths)
