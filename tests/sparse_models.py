"""What the tests of sparse gradients train."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import embed_ops

ROWS, WIDTH = 40, 8


def make(sparse: bool, device: str) -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(
        embed_ops.FastEmbeddingBag(ROWS, WIDTH, mode="sum", sparse=sparse, device=device),
        nn.Linear(WIDTH, 3, device=device),
    )


class SeparateTables(nn.Module):
    """Looked up together; one of them is frozen."""

    def __init__(self, sparse: bool, device: str) -> None:
        super().__init__()
        self.sparse = sparse
        self.tables = nn.ParameterList(
            torch.randn(rows, width, device=device) for rows, width in ((5, 4), (70, 8), (30, 1))
        )
        self.tables[1].requires_grad_(False)

    def forward(self, indices: Tensor) -> Tensor:
        return embed_ops.multi_embedding(indices, list(self.tables), sparse=self.sparse)


def data(number: int, device: str) -> Tensor:
    generator = torch.Generator().manual_seed(number)
    return torch.randint(ROWS, (9, 4), generator=generator).to(device)


COMPILED = pytest.mark.parametrize("backend", [None, "aot_eager", "inductor", "embed_ops"])


def compiled(model: nn.Module, backend: str | None, **options: Any) -> Callable[..., Tensor]:
    if backend is None:
        return model
    return torch.compile(model, backend=backend, fullgraph=True, **options)
