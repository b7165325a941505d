"""Emptying the caches, so that a repetition finds nothing of the last one in them.

A buffer is read, twice the size of the GPU's L2; reading leaves no dirty lines behind that the
timed kernel would have to write back. On the CPU it is twice the last-level cache, within reason.
"""

from __future__ import annotations

import functools
import os

import torch
from torch import Tensor

CPU_BYTES = 16 << 20


def empty(device: torch.device) -> None:
    """Reads the buffer."""
    if device.type == "cuda":
        torch.sum(_buffer(device), dim=0, out=_target(device))
    else:
        _buffer(device).sum()


@functools.cache
def _buffer(device: torch.device) -> Tensor:
    if device.type == "cuda":
        size = 2 * torch.cuda.get_device_properties(device).L2_cache_size
    else:
        size = min(2 * _last_level_bytes(), CPU_BYTES)
    return torch.ones(max(size // 4, 1), dtype=torch.float32, device=device)


@functools.cache
def _target(device: torch.device) -> Tensor:
    return torch.empty((), dtype=torch.float32, device=device)


def _last_level_bytes() -> int:
    """The size of the largest cache of the first core, as Linux reports it; 0 if it does not."""
    folder = "/sys/devices/system/cpu/cpu0/cache"
    sizes = [0]
    if os.path.isdir(folder):
        for name in os.listdir(folder):
            path = os.path.join(folder, name, "size")
            if os.path.isfile(path):
                with open(path) as file:
                    sizes.append(int(file.read().strip().rstrip("K")) << 10)
    return max(sizes)
