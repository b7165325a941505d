"""embedding_renorm_: scales the rows named by indices down to a norm, in place."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

ops = torch.ops.embed_ops


def renorm_(weight: Tensor, indices: Tensor, max_norm: float, norm_type: float) -> None:
    """Scales each row named by ``indices`` whose norm exceeds ``max_norm``, outside the graph.

    As in torch this edits the parameter itself and is not differentiated.

    Args:
        weight: (rows, D); changed in place. Its rows must be dense: stride 1 between columns.
        indices: of any shape, int32 or int64.
        max_norm: the largest norm that a row keeps.
        norm_type: the p of the norm.
    """
    with torch.no_grad():
        ops.embedding_renorm_(weight.detach(), indices, float(max_norm), float(norm_type))


def _bump_version(keyset: Any, weight: Tensor, *args: Any, **kwargs: Any) -> None:
    """Tells autograd that ``weight`` has changed, as torch's own in-place ops do."""
    torch.autograd.graph.increment_version(weight)
    with torch._C._AutoDispatchBelowADInplaceOrView():
        ops.embedding_renorm_.default.redispatch(
            keyset & torch._C._after_ADInplaceOrView_keyset, weight, *args, **kwargs
        )


_library = torch.library.Library("embed_ops", "IMPL")
_library.impl("embedding_renorm_", _bump_version, "ADInplaceOrView", with_keyset=True)
