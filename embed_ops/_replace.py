"""replace(): torch's lookup modules of a model become this library's, in place."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import torch
from torch import nn

from .nn import FastEmbedding, FastEmbeddingBag

logger = logging.getLogger("embed_ops")

_FAST: dict[type[nn.Module], type[nn.Module]] = {
    nn.Embedding: FastEmbedding,
    nn.EmbeddingBag: FastEmbeddingBag,
}
_DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


@dataclass(frozen=True)
class Replacement:
    """What :func:`replace` did about one module.

    Attributes:
        path: the module's name in the model; empty for the model itself.
        before: its class as it was.
        after: its class as it is.
        reason: why it was left as it was; None if it was not.
    """

    path: str
    before: str
    after: str
    reason: str | None = None

    def __str__(self) -> str:
        became = "unchanged" if self.reason is not None else self.after
        why = "" if self.reason is None else f" ({self.reason})"
        return f"{self.path or 'the model'}: {self.before}: {became}{why}"


def replace(model: nn.Module) -> list[Replacement]:
    """Turns every nn.Embedding and nn.EmbeddingBag of a model into its Fast equivalent, in place.

    For models that are not compiled, or with another backend than ``"embed_ops"``. The modules stay
    the objects that they are, with their parameters, hooks and names; only their class changes, so
    optimizers, tied weights and state_dicts notice nothing. Subclasses, which may compute something
    else, are left alone; so is what the Fast modules cannot do.

    Args:
        model: changed in place.

    Returns:
        One entry for each module of the two kinds, also logged at level INFO of the logger
        ``embed_ops``.
    """
    done = []
    for path, module in model.named_modules():
        if not isinstance(module, (nn.Embedding, nn.EmbeddingBag)):
            continue
        if isinstance(module, (FastEmbedding, FastEmbeddingBag)):
            continue
        before = type(module).__name__
        reason = _why_not(module)
        if reason is None:
            module.__class__ = _FAST[type(module)]  # type: ignore[assignment]
        done.append(Replacement(path, before, type(module).__name__, reason))
        logger.info("%s", done[-1])
    return done


def _why_not(module: nn.Embedding | nn.EmbeddingBag) -> str | None:
    if type(module) not in _FAST:
        return "a subclass"
    if type(module.weight) not in (nn.Parameter, torch.Tensor):
        return f"the table is a {type(module.weight).__name__}"
    if module.weight.dtype not in _DTYPES:
        return f"the table's dtype is {str(module.weight.dtype).removeprefix('torch.')}"
    return None
