"""Timing of one callable: on the device, and as the caller sees it.

For scripts::

    from bench.timing import device_time, wall_time
    print(device_time(lambda: op(weight, indices)))    # p50 [p20, p80] in microseconds

On CUDA :func:`device_time` captures the callable in a CUDA graph where it can be captured and times
replays between two device events. What cannot be captured is launched as usual behind a kernel that
keeps the device waiting while the host runs ahead, so that the host's launches are hidden too,
unless the callable itself waits for the device. Before every repetition the L2 cache is emptied by
reading a buffer twice its size (reading leaves no dirty lines behind that the timed kernel would
have to write back). On the CPU the caches are emptied in the same way and the clock is the host's.
"""

from __future__ import annotations

import functools
import gc
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

BUDGET_S = 0.02
WALL_BUDGET_S = 0.006
PILOTS = 2
CPU_FLUSH_BYTES = 16 << 20
LONGEST_WAIT_US = 20_000.0


@dataclass(frozen=True)
class Timing:
    """Percentiles over the repetitions, in microseconds; ``method`` is graph, events or host."""

    p20: float
    p50: float
    p80: float
    repetitions: int
    method: str

    def __str__(self) -> str:
        times = f"{self.p50:.2f} [{self.p20:.2f}, {self.p80:.2f}] us"
        return f"{times} ({self.repetitions} x {self.method})"


class Captured:
    """A callable recorded as a CUDA graph. Calling it replays; ``result`` is where the outputs
    are."""

    def __init__(self, graph: torch.cuda.CUDAGraph, result: Any) -> None:
        self._graph = graph
        self.result = result

    def __call__(self) -> Any:
        self._graph.replay()
        return self.result


def device_time(
    fn: Callable[[], Any],
    *,
    device: torch.device | str | None = None,
    budget_s: float = BUDGET_S,
    min_repetitions: int = 5,
    max_repetitions: int = 100,
    flush: bool = True,
    graph: bool = True,
) -> Timing:
    """The time of ``fn`` on the device.

    Args:
        fn: launches the work; called a few times to warm up. May already be :class:`Captured`.
        device: default: CUDA where there is one, else the CPU.
        budget_s: about how long to measure; sets the number of repetitions within its two bounds.
        flush: empty the L2 cache (the CPU's caches) before each repetition.
        graph: try to capture ``fn``; ignored on the CPU.
    """
    device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if device.type != "cuda":
        return _cpu_time(fn, budget_s, min_repetitions, max_repetitions, flush)
    if graph and not isinstance(fn, Captured):
        fn = capture(fn) or fn
    return _cuda_time(fn, device, budget_s, min_repetitions, max_repetitions, flush)


def wall_time(
    fn: Callable[[], Any],
    *,
    device: torch.device | str | None = None,
    budget_s: float = WALL_BUDGET_S,
    min_repetitions: int = 5,
    max_repetitions: int = 50,
) -> Timing:
    """The time from an idle device, through one call, to an idle device; caches as they are."""
    device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))

    def once() -> float:
        start = time.perf_counter()
        fn()
        synchronize(device)
        return (time.perf_counter() - start) * 1e6

    synchronize(device)
    once()
    return _timing(_collect(once, budget_s, min_repetitions, max_repetitions), "host")


def capture(fn: Callable[[], Any], warm_ups: int = 2) -> Captured | None:
    """``fn`` as a CUDA graph, or None if it cannot be captured.

    The graph object is driven directly: the context manager torch.cuda.graph collects garbage and
    empties the allocator's cache each time, which costs more than a whole cell of a benchmark.
    """
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    captured = None
    collecting = gc.isenabled()
    with torch.cuda.stream(stream):
        for _ in range(warm_ups):
            fn()
        stream.synchronize()
        graph = torch.cuda.CUDAGraph()
        gc.disable()  # Freeing device memory during the capture would spoil it.
        try:
            graph.capture_begin(capture_error_mode="thread_local")
            try:
                result = fn()
            finally:
                graph.capture_end()
            captured = Captured(graph, result)
        except RuntimeError:
            torch.cuda.synchronize()
            _end_failed_capture()
        finally:
            if collecting:
                gc.enable()
    torch.cuda.current_stream().wait_stream(stream)
    return captured


def _end_failed_capture() -> None:
    """torch leaves its generator in a capture that failed; one that succeeds takes it out."""
    graph = torch.cuda.CUDAGraph()
    graph.capture_begin(capture_error_mode="thread_local")
    torch.zeros(1, device="cuda")
    graph.capture_end()


def synchronize(device: torch.device) -> None:
    """Waits for the device; nothing to wait for on the CPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def last_level_cache_bytes() -> int:
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


def _cpu_time(fn: Callable[[], Any], budget_s: float, least: int, most: int, flush: bool) -> Timing:
    def once() -> float:
        if flush:
            _flush_buffer(torch.device("cpu")).sum()
        start = time.perf_counter()
        fn()
        return (time.perf_counter() - start) * 1e6

    fn()
    return _timing(_collect(once, budget_s, least, most), "host")


def _collect(once: Callable[[], float], budget_s: float, least: int, most: int) -> list[float]:
    """Times until the budget is spent, between two numbers of them."""
    times: list[float] = []
    end = time.perf_counter() + budget_s
    while len(times) < least or (len(times) < most and time.perf_counter() < end):
        times.append(once())
    return times


def _cuda_time(
    fn: Callable[[], Any],
    device: torch.device,
    budget_s: float,
    least: int,
    most: int,
    flush: bool,
) -> Timing:
    buffer = _flush_buffer(device) if flush else None
    flush_us = _flush_us(device) if flush else 0.0
    fn()
    host_us = _host_us(fn, device)
    # Emptying the cache already keeps the device busy for a while; wait for what is missing.
    wait_us = min(max(1.1 * host_us + 15.0 - flush_us, 0.0), LONGEST_WAIT_US)
    wait_cycles = int(wait_us * _cycles_per_us(device)) if wait_us > 0.0 else 0

    def measure(count: int) -> list[float]:
        pairs = [_event_pair() for _ in range(count)]
        for start, end in pairs:
            if buffer is not None:
                _read(buffer)
            if wait_cycles:
                torch.cuda._sleep(wait_cycles)
            start.record()
            fn()
            end.record()
        torch.cuda.synchronize(device)
        return [start.elapsed_time(end) * 1e3 for start, end in pairs]

    pilot = statistics.median(measure(PILOTS))
    count = _repetitions(pilot + flush_us + wait_us, budget_s, least, most)
    method = "graph" if isinstance(fn, Captured) else "events"
    return _timing(measure(count), method)


def _event_pair() -> tuple[torch.cuda.Event, torch.cuda.Event]:
    return torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)


def _host_us(fn: Callable[[], Any], device: torch.device) -> float:
    """How long the host needs to launch ``fn``."""
    times = []
    for _ in range(PILOTS):
        torch.cuda.synchronize(device)
        start = time.perf_counter()
        fn()
        times.append((time.perf_counter() - start) * 1e6)
    torch.cuda.synchronize(device)
    return min(times)


@functools.cache
def _flush_buffer(device: torch.device) -> Tensor:
    if device.type == "cuda":
        size = 2 * torch.cuda.get_device_properties(device).L2_cache_size
    else:
        size = min(2 * last_level_cache_bytes(), CPU_FLUSH_BYTES)
    return torch.ones(max(size // 4, 1), dtype=torch.float32, device=device)


@functools.cache
def _read_target(device: torch.device) -> Tensor:
    return torch.empty((), dtype=torch.float32, device=device)


def _read(buffer: Tensor) -> None:
    torch.sum(buffer, dim=0, out=_read_target(buffer.device))


@functools.cache
def _flush_us(device: torch.device) -> float:
    buffer = _flush_buffer(device)
    return _best_event_us(lambda: _read(buffer))


@functools.cache
def _cycles_per_us(device: torch.device) -> float:
    cycles = 1_000_000
    return cycles / _best_event_us(lambda: torch.cuda._sleep(cycles))


def _best_event_us(fn: Callable[[], Any], count: int = 10) -> float:
    fn()
    pairs = [_event_pair() for _ in range(count)]
    for start, end in pairs:
        start.record()
        fn()
        end.record()
    torch.cuda.synchronize()
    return min(start.elapsed_time(end) * 1e3 for start, end in pairs)


def _repetitions(cost_us: float, budget_s: float, least: int, most: int) -> int:
    return max(least, min(most, int(budget_s * 1e6 / max(cost_us, 0.01))))


def _timing(times: list[float], method: str) -> Timing:
    p20, p50, p80 = percentiles(times)
    return Timing(p20, p50, p80, len(times), method)


def percentiles(times: list[float]) -> tuple[float, float, float]:
    """The 20th, 50th and 80th percentile, interpolated."""
    if len(times) == 1:
        return times[0], times[0], times[0]
    tenths = statistics.quantiles(times, n=10, method="inclusive")
    return tenths[1], tenths[4], tenths[7]
