"""Ways to train that meet the lookups of a model: the gradients are always those of eager code."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
import torch
from inductor_graphs import Rewriting
from inductor_language import Language, train
from torch import Tensor

from embed_ops.inductor import backend, explain

pytestmark = pytest.mark.usefixtures("fresh_compiler")


def assert_trains_as_eager(model: Language, compiler: Any = None, **how: Any) -> None:
    compiler = compiler or Rewriting()
    expected = train(model, model, **how)
    actual = train(model, torch.compile(model, backend=compiler, fullgraph=True), **how)
    tolerance = {"rtol": 2e-2, "atol": 1e-2} if how.get("autocast") else {}
    torch.testing.assert_close(actual, expected, **tolerance)


def test_tied_weights(device: str) -> None:
    assert_trains_as_eager(Language(tied=True).to(device))


def test_gradient_accumulation(device: str) -> None:
    assert_trains_as_eager(Language(tied=True).to(device), steps=3)


def test_autocast(device: str) -> None:
    assert_trains_as_eager(Language().to(device), autocast=True)


def test_activation_checkpointing(device: str) -> None:
    model = Language(checkpointed=True).to(device)
    assert_trains_as_eager(model)
    report = explain(model, torch.zeros(5, 6, dtype=torch.int64, device=device))
    became = sorted(finding.became for finding in report.findings)
    assert became == ["embedding"] * 2 + ["multi_embedding_list of 2"] * 2


def test_all_of_these_through_inductor(device: str) -> None:
    model = Language(tied=True, checkpointed=True).to(device)
    model.positions.weight.requires_grad_(False)
    assert_trains_as_eager(model, backend, steps=2, autocast=True)


@pytest.mark.parametrize("frozen", ["words", "bags.0", "words positions bags"])
def test_frozen_tables(frozen: str, device: str) -> None:
    model = Language().to(device)
    for name in frozen.split():
        model.get_submodule(name).requires_grad_(False)
    assert_trains_as_eager(model)


def test_no_grad(device: str) -> None:
    model = Language().to(device)
    compiled = torch.compile(model, backend=Rewriting(), fullgraph=True)
    x = torch.randint(20, (5, 6), device=device)
    for context in (torch.no_grad(), torch.inference_mode(), contextlib.nullcontext()):
        with context:
            torch.testing.assert_close(compiled(x), model(x))


def test_no_grad_inside_of_the_model(device: str) -> None:
    model = Language().to(device)

    def loss(x: Tensor) -> Tensor:
        with torch.no_grad():
            target = model.words(x)
        return (model.words(x.flip(0)) - target).square().mean()

    compiled = torch.compile(loss, backend=Rewriting(), fullgraph=True)
    torch.testing.assert_close(train(model, compiled), train(model, loss))
