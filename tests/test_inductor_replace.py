"""embed_ops.replace: modules in place, and what it says about it."""

from __future__ import annotations

import copy
import logging

import pytest
import torch
from torch import nn

from embed_ops import FastEmbedding, FastEmbeddingBag
from embed_ops._replace import replace


class Subclass(nn.Embedding):
    pass


def make() -> nn.Module:
    model = nn.ModuleDict(
        {
            "words": nn.Embedding(20, 4, padding_idx=2, max_norm=1.5),
            "bags": nn.ModuleList([nn.EmbeddingBag(9, 4, mode="sum"), nn.EmbeddingBag(7, 4)]),
            "own": FastEmbedding(5, 4),
            "other": Subclass(5, 4),
            "sparse": nn.EmbeddingBag(5, 4, sparse=True),
            "quarter": nn.Embedding(5, 4, dtype=torch.complex64),
        }
    )
    model["again"] = model["words"]
    return model


def test_what_it_says(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "embed_ops")
    lines = [str(replacement) for replacement in replace(make())]
    assert lines == [
        "words: Embedding: FastEmbedding",
        "bags.0: EmbeddingBag: FastEmbeddingBag",
        "bags.1: EmbeddingBag: FastEmbeddingBag",
        "other: Subclass: unchanged (a subclass)",
        "sparse: EmbeddingBag: FastEmbeddingBag",
        "quarter: Embedding: unchanged (the table's dtype is complex64)",
    ]
    assert caplog.messages == lines


def test_a_model_that_is_a_lookup() -> None:
    table = nn.Embedding(5, 4)
    assert [str(replacement) for replacement in replace(table)] == [
        "the model: Embedding: FastEmbedding"
    ]
    assert type(table) is FastEmbedding


def test_modules_stay_what_they_are() -> None:
    model = make()
    before, state = dict(model.named_modules()), copy.deepcopy(model.state_dict())
    parameters = dict(model.named_parameters())
    calls = []
    model["words"].register_forward_hook(lambda *_: calls.append("hook"))
    replace(model)
    assert type(model["words"]) is FastEmbedding
    assert type(model["bags"][0]) is FastEmbeddingBag
    assert model["again"] is model["words"]
    assert all(module is before[name] for name, module in model.named_modules())
    assert all(p is parameters[name] for name, p in model.named_parameters())
    assert model.state_dict().keys() == state.keys()
    model.load_state_dict(state)
    model["words"](torch.tensor([1]))
    assert calls == ["hook"]


def test_results_are_the_same() -> None:
    model = make()
    original = copy.deepcopy(model)
    replace(model)
    x, offsets = torch.randint(5, (6,)), torch.tensor([0, 2, 2])
    for module, other in (
        (model["words"], original["words"]),
        (model["bags"][0], original["bags"][0]),
        (model["bags"][1], original["bags"][1]),
    ):
        inputs = (x,) if isinstance(module, nn.Embedding) else (x, offsets)
        torch.testing.assert_close(module(*inputs), other(*inputs))
        module(*inputs).square().sum().backward()
        other(*inputs).square().sum().backward()
        torch.testing.assert_close(module.weight.grad, other.weight.grad)


def test_twice_changes_nothing_more() -> None:
    model = make()
    replace(model)
    assert all(replacement.reason is not None for replacement in replace(model))
