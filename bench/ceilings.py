"""What the memory of this machine can do, measured in the run whose rows it is compared with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from .timing import device_time

CUDA_BYTES = 1 << 30
CPU_BYTES = 128 << 20
QUICK_BYTES = 16 << 20


@dataclass(frozen=True)
class Ceilings:
    """Bytes per second of a copy (read + written), a fill and a read, and the timer's own floor.

    ``floor_us`` is what the timer reads for a kernel that does nothing to speak of (one element).
    """

    copy: float
    fill: float
    read: float
    floor_us: float

    def roofline_us(self, bytes_read: int, bytes_written: int) -> float:
        """The least time for this traffic: what is read and written in pairs moves at the speed of
        a copy, the rest at the speed of a read or a fill."""
        paired = min(bytes_read, bytes_written)
        seconds = 2 * paired / self.copy
        seconds += (bytes_read - paired) / self.read + (bytes_written - paired) / self.fill
        return seconds * 1e6


def measure(device: torch.device, quick: bool = False) -> Ceilings:
    """Times copy, fill and read of buffers far larger than the caches; smaller if ``quick``."""
    if quick:
        size = QUICK_BYTES
    elif device.type == "cuda":
        size = min(CUDA_BYTES, torch.cuda.mem_get_info(device)[0] // 8)
    else:
        size = CPU_BYTES
    source = torch.ones(size // 4, dtype=torch.float32, device=device)
    target = torch.empty_like(source)
    scalar = torch.empty((), dtype=torch.float32, device=device)
    one = torch.empty(1, device=device)
    budget_s = 0.02 if quick else 0.1

    def seconds(fn: Callable[[], object]) -> float:
        return device_time(fn, device=device, budget_s=budget_s, flush=False).p20 * 1e-6

    return Ceilings(
        # A kernel, not copy_: in a captured graph that is a memory copy of another speed.
        copy=2 * size / seconds(lambda: torch.neg(source, out=target)),
        fill=size / seconds(lambda: target.fill_(1.0)),
        read=size / seconds(lambda: torch.sum(source, dim=0, out=scalar)),
        floor_us=device_time(lambda: one.fill_(1.0), device=device).p50,
    )
