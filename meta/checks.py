"""Argument checks of the fake kernels: the twin of csrc/common, with the same texts.

Every error is a ValueError that reads ``embed_ops::{op}: {argument}: expected {expected}, got
{got}``. What looks into data (an index out of range) is not checked here: fake tensors hold none.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import SymBool, SymInt, Tensor

FLOAT_DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
INDEX_DTYPES = (torch.int32, torch.int64)
NO_PADDING = -1

Size = int | SymInt


class Check:
    """The checks of one call of the op ``name``."""

    def __init__(self, name: str) -> None:
        self.name = name

    def require(self, condition: bool | SymBool, argument: str, expected: str, got: str) -> None:
        # Not `if`: on sizes known only at run time this becomes a check made then.
        torch._check_value(
            condition,
            lambda: f"embed_ops::{self.name}: {argument}: expected {expected}, got {got}",
        )

    def float_dtype(self, argument: str, tensor: Tensor) -> None:
        self.require(
            tensor.dtype in FLOAT_DTYPES,
            argument,
            "dtype float32, float64, float16 or bfloat16",
            dtype_name(tensor),
        )

    def index_dtype(self, argument: str, tensor: Tensor) -> None:
        self.require(
            tensor.dtype in INDEX_DTYPES, argument, "dtype int32 or int64", dtype_name(tensor)
        )

    def same_dtype(self, argument: str, tensor: Tensor, other_name: str, other: Tensor) -> None:
        expected = f"dtype {dtype_name(other)} (as {other_name})"
        self.require(tensor.dtype == other.dtype, argument, expected, dtype_name(tensor))

    def same_device(self, argument: str, tensor: Tensor, other_name: str, other: Tensor) -> None:
        expected = f"device {device_name(other)} (as {other_name})"
        self.require(tensor.device == other.device, argument, expected, device_name(tensor))

    def rank(self, argument: str, tensor: Tensor, rank: int, when: str = "") -> None:
        expected = f"{rank} dimension{'' if rank == 1 else 's'}{when}"
        self.require(tensor.dim() == rank, argument, expected, f"shape {shape_text(tensor.shape)}")

    def shape(self, argument: str, tensor: Tensor, expected: Sequence[Size]) -> None:
        texts = f"shape {shape_text(expected)}", f"shape {shape_text(tensor.shape)}"
        self.require(tensor.dim() == len(expected), argument, *texts)
        for size, wanted in zip(tensor.shape, expected, strict=True):
            self.require(size == wanted, argument, *texts)

    def at_least(self, argument: str, value: Size, least: int) -> None:
        self.require(value >= least, argument, f"a value of at least {least}", size_text(value))

    def padding_idx(self, padding_idx: int, num_rows: Size) -> None:
        if padding_idx == NO_PADDING:
            return
        expected = f"-1 or a value in [0, {size_text(num_rows)})"
        self.require(padding_idx >= 0, "padding_idx", expected, str(padding_idx))
        self.require(num_rows > padding_idx, "padding_idx", expected, str(padding_idx))

    def mode(self, mode: str, *, max_allowed: bool) -> None:
        allowed = ("sum", "mean", "max") if max_allowed else ("sum", "mean")
        expected = "'sum', 'mean' or 'max'" if max_allowed else "'sum' or 'mean'"
        self.require(mode in allowed, "mode", expected, f"'{mode}'")

    def table(self, argument: str, weight: Tensor) -> None:
        self.float_dtype(argument, weight)
        self.rank(argument, weight, 2)

    def indices(self, indices: Tensor, other_name: str, other: Tensor) -> None:
        self.index_dtype("indices", indices)
        self.same_device("indices", indices, other_name, other)

    def offsets(self, offsets: Tensor, indices: Tensor, other_name: str, other: Tensor) -> None:
        self.rank("indices", indices, 1, " with offsets")
        self.index_dtype("offsets", offsets)
        self.same_device("offsets", offsets, other_name, other)
        self.rank("offsets", offsets, 1)

    def per_sample_weights(
        self, per_sample_weights: Tensor, indices: Tensor, other_name: str, other: Tensor
    ) -> None:
        self.same_dtype("per_sample_weights", per_sample_weights, other_name, other)
        self.same_device("per_sample_weights", per_sample_weights, other_name, other)
        self.shape("per_sample_weights", per_sample_weights, indices.shape)


def dtype_name(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def device_name(tensor: Tensor) -> str:
    if tensor.device.type == "cpu":
        return "cpu"
    kind = "cuda" if tensor.device.type == "cuda" else "device"
    return f"{kind}:{-1 if tensor.device.index is None else tensor.device.index}"


def size_text(size: Size) -> str:
    """A number: also for a symbolic size that stands for one."""
    hint = size.node.hint if isinstance(size, SymInt) else size
    return str(size if hint is None else hint)


def shape_text(sizes: Sequence[Size]) -> str:
    """As Python prints a tuple: ``()``, ``(3,)``, ``(2, 3)``."""
    inner = ", ".join(size_text(size) for size in sizes)
    return f"({inner},)" if len(sizes) == 1 else f"({inner})"
