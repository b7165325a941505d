"""Whole training steps of models."""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import Generator, Tensor, nn

from ..models import dlrm, gnn, gpt
from ..problems import ModelStep, Modules, Problem, Training
from .base import Axis, Cell, Context, Suite

# What builds the model, the inputs of its steps, and the learning rate.
Parts = tuple[Callable[[Modules], nn.Module], tuple[Tensor, ...], float]


class Model(Suite):
    """``part=forward_backward`` or ``step``, which adds torch.optim.SGD. Parameters are float32;
    the language models run under autocast to bfloat16, and the perceptrons of ``dlrm_..._tf32`` in
    TensorFloat32. ``gpt_embedding`` is what of the language model is lookups: tokens and positions,
    and their gradients, in float32.

    A model is compiled once for both parts. ``first_call_s`` is then the time of a compilation that
    found nothing compiled before, but for what the same backend has compiled in the same run."""

    name = "model"
    title = "training steps: recommender, language model, graph network, MovieLens"
    axes = (
        Axis(
            "model",
            (
                *("dlrm_1", "dlrm_20", "dlrm_1_tf32", "dlrm_20_tf32"),
                *("gpt_tied", "gpt_untied", "gpt_embedding", "movielens", "gnn"),
            ),
            ("dlrm_20", "gpt_tied", "movielens", "gnn"),
        ),
        Axis("part", ("forward_backward", "step"), ("step",)),
    )
    peers = (
        "torch_eager",
        "inductor",
        "embed_ops_backend",
        "inductor_cudagraphs",
        "embed_ops_backend_cudagraphs",
    )
    peers_quick = ("torch_eager", "inductor", "embed_ops_backend")

    def build(self, cell: Cell, context: Context) -> Problem:
        model = cell["model"]
        key = model, context.index_dtype
        training = context.kept("training", key, lambda: self._training(model, context))
        return ModelStep(training, with_optimizer=cell["part"] == "step")

    def _training(self, model: str, context: Context) -> Training:
        # What was compiled for the last model goes with it: CUDA graphs keep their memory.
        torch.compiler.reset()
        generator = context.generator({"model": model})
        name, _, variant = model.partition("_")
        make, inputs, learning_rate = getattr(self, f"_{name}")(variant, context.quick, generator)
        if context.index_dtype != torch.int64:
            inputs = tuple(
                x if x.is_floating_point() else x.to(context.index_dtype) for x in inputs
            )
        autocast = torch.bfloat16 if variant in ("tied", "untied") else None
        return Training(make, inputs, learning_rate, autocast, tf32=variant.endswith("tf32"))

    def memory_bytes(self, cell: Cell, context: Context) -> int:
        # The recommender's tables and gradients, ours and the reference's in float64; or the
        # language model's logits in float64.
        large = cell["model"].startswith(("dlrm", "gpt")) and not context.quick
        return 40 << 30 if large else 0

    def _dlrm(self, variant: str, quick: bool, generator: Generator) -> Parts:
        scale = dlrm.QUICK if quick else dlrm.FULL
        hotness = int(variant.partition("_")[0])
        inputs = dlrm.inputs(scale, hotness, generator)
        return functools.partial(dlrm.Dlrm, scale=scale), inputs, dlrm.LEARNING_RATE

    def _gpt(self, variant: str, quick: bool, generator: Generator) -> Parts:
        scale = gpt.QUICK if quick else gpt.FULL
        make: Callable[[Modules], nn.Module] = functools.partial(gpt.Lookups, scale=scale)
        if variant != "embedding":
            make = functools.partial(gpt.Gpt, scale=scale, tied=variant == "tied")
        return make, gpt.inputs(scale, generator), gpt.LEARNING_RATE

    def _gnn(self, variant: str, quick: bool, generator: Generator) -> Parts:
        scale = gnn.QUICK if quick else gnn.FULL
        make = functools.partial(gnn.Gnn, scale=scale)
        return make, gnn.inputs(scale, generator), gnn.LEARNING_RATE

    def _movielens(self, variant: str, quick: bool, generator: Generator) -> Parts:
        # Here, because the example needs embed_ops and pyarrow.
        from ..models import movielens

        scale = movielens.QUICK if quick else movielens.FULL
        inputs = movielens.inputs(scale, generator)
        return movielens.MovieLensLoss, inputs, movielens.LEARNING_RATE
