"""The fake kernels of every op, installed as ``embed_ops.meta``.

A fake kernel computes the shapes, dtypes and devices of an op's results, which is what
torch.compile, torch.export and tensors on the meta device need. Each makes the same checks as the
real kernels and raises the same texts (:mod:`.checks`), and works on symbolic sizes without adding
guards beyond those checks.
"""

from . import (
    compressed_backward,
    embedding,
    embedding_bag,
    embedding_renorm,
    index_transforms,
    multi_embedding,
)

__all__ = [
    "compressed_backward",
    "embedding",
    "embedding_bag",
    "embedding_renorm",
    "index_transforms",
    "multi_embedding",
]
