"""embed_ops: embedding lookups as custom operators for torch.compile, on CPU and CUDA.

Functions with torch.nn.functional's arguments: :func:`embedding`, :func:`embedding_bag`, and
:func:`multi_embedding` for many tables in one launch. Modules: :class:`FastEmbedding`,
:class:`FastEmbeddingBag`, :class:`FastMultiEmbedding`. The operators themselves are
``torch.ops.embed_ops.*``. ``torch.compile(model, backend="embed_ops")`` finds a model's lookups by
itself, and :func:`replace` swaps its modules.
"""

import importlib

from . import _library

__version__ = "0.1.0"

_library.load()
# By name: in a checkout the folder is meta/, and only an installation puts it under embed_ops.
importlib.import_module("embed_ops.meta")

# Behind the fake kernels that autograd formulas are registered beside; compressed_backward has but
# such formulas.
from . import inductor  # noqa: E402
from ._replace import replace  # noqa: E402
from .bounds import bounds_check, check_errors  # noqa: E402
from .clip import clip_grad_norm_, clip_grad_value_  # noqa: E402
from .nn import FastEmbedding, FastEmbeddingBag, FastMultiEmbedding  # noqa: E402
from .ops import compressed_backward, index_transforms  # noqa: E402, F401
from .ops.embedding import embedding  # noqa: E402
from .ops.embedding_bag import embedding_bag  # noqa: E402
from .ops.multi_embedding import multi_embedding  # noqa: E402

__all__ = [
    "FastEmbedding",
    "FastEmbeddingBag",
    "FastMultiEmbedding",
    "__version__",
    "bounds_check",
    "check_errors",
    "clip_grad_norm_",
    "clip_grad_value_",
    "embedding",
    "embedding_bag",
    "index_transforms",
    "inductor",
    "multi_embedding",
    "replace",
]
