"""torch.library.opcheck, with all of its utilities, over the whole table."""

from __future__ import annotations

import pytest
import torch
from calls import overload, positional, requiring_grad
from samples import ALL_SAMPLES, WITHOUT_GRADIENT, Sample

WITHOUT_AUTOGRAD = {"embedding_renorm_"} | WITHOUT_GRADIENT


@pytest.mark.parametrize("sample", ALL_SAMPLES, ids=str)
def test_opcheck(sample: Sample, device: str) -> None:
    arguments = sample.arguments(device, torch.float32)
    if sample.op not in WITHOUT_AUTOGRAD:
        arguments = requiring_grad(arguments)
    torch.library.opcheck(overload(sample.op), positional(sample.op, arguments))
