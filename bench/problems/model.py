"""A training step of a whole model: forward, backward and, if asked for, the optimizer."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..checks import WrongResultError
from .base import Problem, Result

# Relative errors (norms) of the loss and of each gradient against float64.
TOLERANCE = {torch.float32: 1e-3, torch.float64: 1e-9, torch.bfloat16: 5e-2, torch.float16: 2e-2}
TOLERANCE_TF32 = TOLERANCE[torch.float16]  # whose significand is as long

# How many steps of a training must lose what they should.
CHECKED_STEPS = 20


@dataclass(frozen=True)
class Modules:
    """The lookups that a model is built from; everything else in it is torch's own.

    Attributes:
        embedding, embedding_bag: constructors with the arguments of nn.Embedding, nn.EmbeddingBag.
        multi_embedding: (rows of each table, widths, _weight=packed), as FastMultiEmbedding.
        select: (x, index) -> the rows of x that index names.
    """

    embedding: Callable[..., nn.Module]
    embedding_bag: Callable[..., nn.Module]
    multi_embedding: Callable[..., nn.Module]
    select: Callable[[Tensor, Tensor], Tensor]


class TorchMultiEmbedding(nn.Module):
    """Many tables as torch users write them: a list of nn.Embedding, and torch.cat."""

    def __init__(self, rows: Sequence[int], widths: Sequence[int], _weight: Tensor) -> None:
        super().__init__()
        shapes = list(zip(rows, widths, strict=True))
        pieces = _weight.split([count * width for count, width in shapes])
        self.tables = nn.ModuleList(
            nn.Embedding(*shape, _weight=piece.view(shape))
            for shape, piece in zip(shapes, pieces, strict=True)
        )

    def forward(self, indices: Tensor) -> Tensor:
        columns = zip(self.tables, indices.unbind(1), strict=True)
        return torch.cat([table(column) for table, column in columns], 1)


TORCH_MODULES = Modules(
    nn.Embedding,
    nn.EmbeddingBag,
    TorchMultiEmbedding,
    lambda x, index: x.index_select(0, index),
)


class Training:
    """A model, the inputs of its steps, and what these should give, from torch in float64.

    Args:
        make: builds the model; ``model(*inputs)`` is the loss.
        inputs: on the device.
        learning_rate: of torch.optim.SGD.
        autocast: the dtype of torch.autocast, or None.
        tf32: whether matrix products of float32 may be computed in TensorFloat32.

    Attributes:
        compiled: the model as each peer has compiled it, by the peer's name.
        tolerance: the largest relative error (norms) of a loss or gradient.
    """

    def __init__(
        self,
        make: Callable[[Modules], nn.Module],
        inputs: tuple[Tensor, ...],
        learning_rate: float,
        autocast: torch.dtype | None,
        tf32: bool = False,
    ) -> None:
        self.inputs = inputs
        self.device = inputs[0].device
        self.tolerance = TOLERANCE_TF32 if tf32 else TOLERANCE[autocast or torch.float32]
        self.compiled: dict[str, Callable[..., Tensor]] = {}
        self._make = make
        self._learning_rate = learning_rate
        self._autocast = autocast
        self._precision = "high" if tf32 else "highest"
        self._models: dict[Modules, nn.Module] = {}

    def model(self, modules: Modules) -> nn.Module:
        """The model with these lookups, as it is before its first step.

        It is one object for all peers with the same lookups: its tables can be most of the memory.
        """
        initial = self._initial(modules)
        model = self._models.setdefault(modules, initial)
        if model is not initial:
            model.load_state_dict(initial.state_dict())
            model.zero_grad(set_to_none=True)  # Of a step that failed in the middle.
        return model

    def _initial(self, modules: Modules) -> nn.Module:
        """The same initial parameters, whosever lookups."""
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices), self.device:
            torch.manual_seed(0)
            return self._make(modules)

    def optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.SGD(model.parameters(), lr=self._learning_rate)

    @contextlib.contextmanager
    def precision(self) -> Iterator[None]:
        """In which forward and backward run."""
        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision(self._precision)
        try:
            yield
        finally:
            torch.set_float32_matmul_precision(before)

    def context(self) -> AbstractContextManager[Any]:
        """In which the forward runs."""
        dtype, is_used = self._autocast, self._autocast is not None
        return torch.autocast(self.device.type, dtype=dtype, enabled=is_used)

    @functools.cached_property
    def first_step(self) -> Result:
        """The loss and the gradients. In 32 bits: a recommender's tables are large, and the
        tolerance is far above."""
        model, inputs = self._in_float64()
        loss = model(*inputs)
        loss.backward()
        gradients = {f"grad {n}": p.grad for n, p in model.named_parameters() if p.grad is not None}
        kept = {name: gradient.float() for name, gradient in gradients.items()}
        return {"loss": loss.detach().float(), **kept}

    @functools.cached_property
    def losses(self) -> list[float]:
        """Of the first steps of a training."""
        model, inputs = self._in_float64()
        optimizer = self.optimizer(model)
        losses = []
        for _ in range(CHECKED_STEPS):
            optimizer.zero_grad(set_to_none=True)
            loss = model(*inputs)
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
        return torch.stack(losses).tolist()

    def _in_float64(self) -> tuple[nn.Module, list[Tensor]]:
        inputs = [x.double() if x.is_floating_point() else x for x in self.inputs]
        return self._initial(TORCH_MODULES).double(), inputs


class ModelStep(Problem):
    """A step; results are ``loss`` and ``grad NAME`` for every parameter.

    Args:
        with_optimizer: its step belongs to it, so that one call changes the next; the losses of the
            first CHECKED_STEPS calls are checked.
    """

    kind: ClassVar[str] = "model_step"

    def __init__(self, training: Training, with_optimizer: bool) -> None:
        self.training = training
        self.with_optimizer = with_optimizer
        self.repeatable = not with_optimizer
        self.checked_calls = CHECKED_STEPS if with_optimizer else 1

    def check(self, result: Result) -> float:
        want, got = _paired(self.training.first_step, result)
        return max(self._error(name, got[name], expected) for name, expected in want.items())

    def check_later(self, result: Result, number: int) -> float:
        expected = torch.tensor(self.training.losses[number], device=self.training.device)
        return self._error(f"loss of step {number + 1}", result["loss"], expected)

    def _error(self, name: str, got: Tensor, expected: Tensor) -> float:
        norm = torch.linalg.vector_norm(expected).clamp_min(1e-12)
        error = float(torch.linalg.vector_norm(got.float() - expected) / norm)
        if not error <= self.training.tolerance:
            raise WrongResultError(
                f"{name}: relative error {error:.3g}, at most {self.training.tolerance:g} expected"
            )
        return error / self.training.tolerance


def _paired(want: Result, got: Result) -> tuple[Result, Result]:
    """Both with the same names: what only one side has (one packed table here, many tables there)
    is compared as one row of numbers."""

    def together(one: Result, other: Result) -> Result:
        common = {name: one[name] for name in one if name in other}
        rest = [tensor.flatten().float() for name, tensor in one.items() if name not in other]
        return {**common, "other gradients": torch.cat(rest)} if rest else common

    left, right = together(want, got), together(got, want)
    shapes = [{name: tuple(t.shape) for name, t in side.items()} for side in (left, right)]
    if shapes[0] != shapes[1]:
        raise WrongResultError(f"results {shapes[1]}, expected {shapes[0]}")
    return left, right
