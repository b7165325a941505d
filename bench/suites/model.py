"""Whole training steps of models."""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import Generator, Tensor, nn

from ..models import dlrm, gnn, gpt
from ..problems import ModelStep, Modules, Problem
from .base import Axis, Cell, Context, Suite

Parts = tuple[Callable[[Modules], nn.Module], tuple[Tensor, ...]]


class Model(Suite):
    """``part=forward_backward`` or ``step``, which adds torch.optim.SGD. Parameters are float32;
    the language models run under autocast to bfloat16."""

    name = "model"
    title = "training steps: recommender, language model, graph network, MovieLens"
    axes = (
        Axis("part", ("forward_backward", "step"), ("step",), more=("forward_backward",)),
        Axis(
            "model",
            ("dlrm_1", "dlrm_20", "gpt_tied", "gpt_untied", "movielens", "gnn"),
            ("dlrm_20", "gpt_tied", "movielens", "gnn"),
        ),
    )
    peers = (
        "torch_eager",
        "inductor",
        "inductor_cudagraphs",
        "embed_ops",
        "embed_ops_compiled",
        "embed_ops_cudagraphs",
    )

    def build(self, cell: Cell, context: Context) -> Problem:
        generator = context.generator({"model": cell["model"]})
        name, _, variant = cell["model"].partition("_")
        make, inputs = getattr(self, f"_{name}")(variant, context.quick, generator)
        if context.index_dtype != torch.int64:
            inputs = tuple(
                x if x.is_floating_point() else x.to(context.index_dtype) for x in inputs
            )
        autocast = torch.bfloat16 if name == "gpt" else None
        return ModelStep(make, inputs, autocast, with_optimizer=cell["part"] == "step")

    def memory_bytes(self, cell: Cell, context: Context) -> int:
        # The recommender's tables and gradients, ours and the reference's in float64; or the
        # language model's logits in float64.
        large = cell["model"].startswith(("dlrm", "gpt")) and not context.quick
        return 40 << 30 if large else 0

    def _dlrm(self, variant: str, quick: bool, generator: Generator) -> Parts:
        scale = dlrm.QUICK if quick else dlrm.FULL
        inputs = dlrm.inputs(scale, int(variant), generator)
        return functools.partial(dlrm.Dlrm, scale=scale), inputs

    def _gpt(self, variant: str, quick: bool, generator: Generator) -> Parts:
        scale = gpt.QUICK if quick else gpt.FULL
        make = functools.partial(gpt.Gpt, scale=scale, tied=variant == "tied")
        return make, gpt.inputs(scale, generator)

    def _gnn(self, variant: str, quick: bool, generator: Generator) -> Parts:
        scale = gnn.QUICK if quick else gnn.FULL
        return functools.partial(gnn.Gnn, scale=scale), gnn.inputs(scale, generator)

    def _movielens(self, variant: str, quick: bool, generator: Generator) -> Parts:
        # Here, because the example needs embed_ops and pyarrow.
        from ..models import movielens

        scale = movielens.QUICK if quick else movielens.FULL
        return movielens.MovieLensLoss, movielens.inputs(scale, generator)
