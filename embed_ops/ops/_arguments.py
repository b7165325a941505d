"""From the arguments of torch.nn.functional to those of the ops, and the errors on that way."""

from __future__ import annotations

from typing import NoReturn

from torch import Tensor

NO_PADDING = -1


def fail(name: str, argument: str, expected: str, got: str) -> NoReturn:
    """Raises a ValueError with the text that every error of this library has."""
    raise ValueError(f"embed_ops::{name}: {argument}: expected {expected}, got {got}")


def op_padding_idx(name: str, padding_idx: int | None, weight: Tensor) -> int:
    """The ops' ``padding_idx``: -1 for none, otherwise the row.

    Raises:
        ValueError: a negative value that reaches before the first row. (The ops check the others.)
    """
    if padding_idx is None:
        return NO_PADDING
    if padding_idx >= 0:
        return padding_idx
    rows = weight.shape[0]
    if padding_idx < -rows:
        fail(name, "padding_idx", f"a value in [{-rows}, {rows})", str(padding_idx))
    return padding_idx + rows
