"""A training step of a whole model: forward, backward and, if asked for, the optimizer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..checks import WrongResultError
from .base import Problem, Result

# Relative errors (norms) of the loss and of each gradient against float64.
TOLERANCE = {torch.float32: 1e-3, torch.float64: 1e-9, torch.bfloat16: 5e-2, torch.float16: 2e-2}


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


class ModelStep(Problem):
    """One step on fixed inputs; results are ``loss`` and ``grad NAME`` for every parameter.

    Args:
        make: builds the model; ``model(*inputs)`` is the loss.
        inputs: on the device.
        autocast: the dtype of torch.autocast, or None.
        with_optimizer: an SGD step belongs to it.
    """

    kind: ClassVar[str] = "model_step"

    def __init__(
        self,
        make: Callable[[Modules], nn.Module],
        inputs: tuple[Tensor, ...],
        autocast: torch.dtype | None,
        with_optimizer: bool,
    ) -> None:
        self.inputs = inputs
        self.autocast = autocast
        self.with_optimizer = with_optimizer
        self.repeatable = not with_optimizer
        self._make = make
        self._tolerance = TOLERANCE[autocast or torch.float32]
        self._want = self._reference()

    def model(self, modules: Modules) -> nn.Module:
        """The model with these lookups and the same initial parameters as every other peer's."""
        device = self.inputs[0].device
        with torch.random.fork_rng([device] if device.type == "cuda" else []), device:
            torch.manual_seed(0)
            return self._make(modules)

    def context(self) -> Any:
        """In which the forward runs."""
        device = self.inputs[0].device.type
        return torch.autocast(device, dtype=self.autocast, enabled=self.autocast is not None)

    def _reference(self) -> dict[str, Tensor]:
        model = self.model(TORCH_MODULES).double()
        inputs = [x.double() if x.is_floating_point() else x for x in self.inputs]
        loss = model(*inputs)
        loss.backward()
        gradients = {f"grad {n}": p.grad for n, p in model.named_parameters() if p.grad is not None}
        # Kept in 32 bits: a recommender's tables are large, and the tolerance is far above.
        kept = {name: gradient.float() for name, gradient in gradients.items()}
        return {"loss": loss.detach().float(), **kept}

    def check(self, result: Result) -> float:
        want, got = _paired(self._want, result)
        worst = 0.0
        for name, expected in want.items():
            norm = torch.linalg.vector_norm(expected).clamp_min(1e-12)
            error = float(torch.linalg.vector_norm(got[name].float() - expected) / norm)
            if not error <= self._tolerance:
                raise WrongResultError(
                    f"{name}: relative error {error:.3g}, at most {self._tolerance:g} expected"
                )
            worst = max(worst, error / self._tolerance)
        return worst


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
