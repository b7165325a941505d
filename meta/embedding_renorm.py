"""Fake kernel of embedding_renorm_; twin of csrc/ops/embedding.h."""

from __future__ import annotations

import torch
from torch import Tensor

from .checks import Check, size_text


@torch.library.register_fake("embed_ops::embedding_renorm_")
def embedding_renorm_(
    weight: Tensor, indices: Tensor, max_norm: float, norm_type: float = 2.0
) -> None:
    check = Check("embedding_renorm_")
    check.table("weight", weight)
    check.require(
        weight.shape[1] <= 1 or weight.stride(1) == 1,
        "weight",
        "rows of adjacent elements",
        f"stride {size_text(weight.stride(1))} between columns",
    )
    check.indices(indices, "weight", weight)
    check.require(max_norm >= 0, "max_norm", "a value of at least 0", f"{max_norm:g}")
    check.require(norm_type > 0, "norm_type", "a value above 0", f"{norm_type:g}")
