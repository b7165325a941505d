"""Timing of one callable: on the device, and as the caller sees it.

For scripts::

    from bench.timing import device_time, wall_time
    print(device_time(lambda: op(weight, indices)))    # p50 [p20, p80] in microseconds

On CUDA :func:`device_time` captures the callable in a CUDA graph where it can be captured and times
replays between two device events. What cannot be captured is launched as usual behind a kernel that
keeps the device waiting while the host runs ahead, so that the host's launches are hidden too,
unless the callable itself waits for the device. The caches are emptied before every repetition. On
the CPU the clock is the host's.

Repetitions come until the median is certain or the budget is spent: what repeats well is soon done,
what scatters is repeated more often. Replays come one by one, the host waiting for each: while more
work waits in the queue behind it, a short call takes the device up to a microsecond longer, now and
then. What is launched as usual comes in batches, through which the host runs ahead. Replays that
the host launched too late do not count; what scatters all the same was disturbed from outside, and
is measured once more.
"""

from __future__ import annotations

import contextlib
import functools
import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from . import caches, graphs
from .graphs import Captured

BUDGET_S = 0.01
WALL_BUDGET_S = 0.002
LEAST = 7
MOST = 100
# The standard error of the median at which it counts as known, as a share of it.
CERTAIN = 0.01
# That from which on replays of a graph were disturbed: what is in it takes its time evenly.
DISTURBED = 0.04
HOST_PILOTS = 2
LONGEST_WAIT_US = 20_000.0
# The start that the host gets over the device where it launches repetitions in a row: an
# interruption of the host that is not longer than that does not show.
HEAD_START_US = 300.0
# How many batches of replays may make up for what the host launched too late.
ATTEMPTS = 5


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


def device_time(
    fn: Callable[[], Any],
    *,
    device: torch.device | str | None = None,
    budget_s: float = BUDGET_S,
    min_repetitions: int = LEAST,
    max_repetitions: int = MOST,
    flush: bool = True,
    graph: bool = True,
) -> Timing:
    """The time of ``fn`` on the device.

    Args:
        fn: launches the work; called a few times to warm up. May already be captured.
        device: default: CUDA where there is one, else the CPU.
        budget_s: the time to spend on repetitions beyond the least number.
        flush: empty the caches before each repetition.
        graph: try to capture ``fn``; ignored on the CPU.
    """
    device = _device(device)
    if device.type == "cuda" and graph and not isinstance(fn, Captured):
        with contextlib.suppress(graphs.NotCapturedError):
            fn = graphs.capture(fn)
    measure = _cuda_batch(fn, device, flush) if device.type == "cuda" else _cpu_batch(fn, flush)
    repeated = functools.partial(repeat, measure, budget_s, min_repetitions, max_repetitions)
    if isinstance(fn, Captured):
        return _timing(undisturbed(repeated), "graph")
    return _timing(repeated(), "events" if device.type == "cuda" else "host")


def wall_time(
    fn: Callable[[], Any],
    *,
    device: torch.device | str | None = None,
    budget_s: float = WALL_BUDGET_S,
    min_repetitions: int = LEAST,
    max_repetitions: int = MOST,
) -> Timing:
    """The time from an idle device, through one call, to an idle device; caches as they are."""
    device = _device(device)

    def once() -> float:
        start = time.perf_counter()
        fn()
        synchronize(device)
        return (time.perf_counter() - start) * 1e6

    synchronize(device)
    once()
    times = repeat(_batch_of(once), budget_s, min_repetitions, max_repetitions)
    return _timing(times, "host")


def synchronize(device: torch.device) -> None:
    """Waits for the device; nothing to wait for on the CPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def repeat(
    measure: Callable[[int], list[float]], budget_s: float, least: int, most: int
) -> list[float]:
    """Times of ``least`` to ``most`` repetitions: until the median is certain, as far as the budget
    goes. ``measure(n)`` gives the times of n of them."""
    start = time.perf_counter()
    times = measure(least)
    while len(times) < most and median_error(times) > CERTAIN:
        spent_s = time.perf_counter() - start
        affordable = int((budget_s - spent_s) / spent_s * len(times))
        count = min(affordable, len(times), most - len(times))
        if count < 1:
            break
        times += measure(count)
    return times


def undisturbed(measure: Callable[[], list[float]]) -> list[float]:
    """The times of one measurement; if they scatter as if disturbed, the shorter of two: what comes
    from outside only adds."""
    times = measure()
    if median_error(times) <= DISTURBED:
        return times
    return min(times, measure(), key=statistics.median)


class Repetition(NamedTuple):
    """One call.

    Attributes:
        time: in microseconds.
        in_time: whether the host had launched all of it before the device began; if not, the device
            may have waited for the host.
    """

    time: float
    in_time: bool


def times_in_time(batch: Callable[[int], Sequence[Repetition]], count: int) -> list[float]:
    """The times of ``count`` repetitions that were launched in time, or of as many as a few batches
    have; if there is none, of all of the last batch."""
    times: list[float] = []
    for _ in range(ATTEMPTS):
        repetitions = batch(count - len(times))
        times += [repetition.time for repetition in repetitions if repetition.in_time]
        if len(times) == count:
            break
    return times or [repetition.time for repetition in repetitions]


def median_error(times: Sequence[float]) -> float:
    """The standard error of the median as a share of it, for times scattered by a normal
    distribution as wide as theirs: sqrt(pi / 2) * sigma / sqrt(n), p80 - p20 being 1.683 sigma."""
    p20, p50, p80 = percentiles(times)
    sigma = (p80 - p20) / 1.683
    return math.sqrt(math.pi / 2 / len(times)) * sigma / p50 if p50 else 0.0


def percentiles(times: Sequence[float]) -> tuple[float, float, float]:
    """The 20th, 50th and 80th percentile, interpolated."""
    if len(times) == 1:
        return times[0], times[0], times[0]
    tenths = statistics.quantiles(times, n=10, method="inclusive")
    return tenths[1], tenths[4], tenths[7]


def _device(device: torch.device | str | None) -> torch.device:
    return torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))


def _timing(times: Sequence[float], method: str) -> Timing:
    p20, p50, p80 = percentiles(times)
    return Timing(p20, p50, p80, len(times), method)


def _batch_of(once: Callable[[], float]) -> Callable[[int], list[float]]:
    return lambda count: [once() for _ in range(count)]


def _cpu_batch(fn: Callable[[], Any], flush: bool) -> Callable[[int], list[float]]:
    def once() -> float:
        if flush:
            caches.empty(torch.device("cpu"))
        start = time.perf_counter()
        fn()
        return (time.perf_counter() - start) * 1e6

    fn()
    return _batch_of(once)


def _cuda_batch(
    fn: Callable[[], Any], device: torch.device, flush: bool
) -> Callable[[int], list[float]]:
    fn()
    wait_cycles = int(_wait_us(fn, device, flush) * _cycles_per_us(device))

    def launch(start: torch.cuda.Event, end: torch.cuda.Event) -> bool:
        """Whether the host was in time."""
        if flush:
            caches.empty(device)
        if wait_cycles:
            torch.cuda._sleep(wait_cycles)
        start.record()
        fn()
        end.record()
        return not start.query()

    def one_by_one(count: int) -> list[Repetition]:
        repetitions = []
        for start, end in _event_pairs(count):
            in_time = launch(start, end)
            end.synchronize()
            repetitions.append(Repetition(start.elapsed_time(end) * 1e3, in_time))
        return repetitions

    def in_a_row(count: int) -> list[float]:
        """Whatever the host was late for counts too: so it would be in use."""
        pairs = _event_pairs(count)
        torch.cuda._sleep(int(HEAD_START_US * _cycles_per_us(device)))
        for pair in pairs:
            launch(*pair)
        torch.cuda.synchronize(device)
        return [start.elapsed_time(end) * 1e3 for start, end in pairs]

    if isinstance(fn, Captured):
        return functools.partial(times_in_time, one_by_one)
    return in_a_row


def _wait_us(fn: Callable[[], Any], device: torch.device, flush: bool) -> float:
    """How long the device is kept waiting, so that the host has launched ``fn`` when the device
    comes to it. Emptying the cache keeps the device busy too, and counts for that long."""
    flush_us = _flush_us(device) if flush else 0.0
    return min(max(1.1 * _host_us(fn, device) + 15.0 - flush_us, 0.0), LONGEST_WAIT_US)


def _host_us(fn: Callable[[], Any], device: torch.device) -> float:
    """How long the host needs to launch ``fn``."""
    times = []
    for _ in range(HOST_PILOTS):
        torch.cuda.synchronize(device)
        start = time.perf_counter()
        fn()
        times.append((time.perf_counter() - start) * 1e6)
    torch.cuda.synchronize(device)
    return min(times)


_EventPair = tuple[torch.cuda.Event, torch.cuda.Event]
_events: list[_EventPair] = []


def _event_pairs(count: int) -> list[_EventPair]:
    """The same ones each time: making them costs as much as recording them."""
    while len(_events) < count:
        pair = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        _events.append(pair)
    return _events[:count]


@functools.cache
def _flush_us(device: torch.device) -> float:
    return _best_event_us(lambda: caches.empty(device))


@functools.cache
def _cycles_per_us(device: torch.device) -> float:
    cycles = 1_000_000
    return cycles / _best_event_us(lambda: torch.cuda._sleep(cycles))


def _best_event_us(fn: Callable[[], Any], count: int = 10) -> float:
    fn()
    pairs = _event_pairs(count)
    for start, end in pairs:
        start.record()
        fn()
        end.record()
    torch.cuda.synchronize()
    return min(start.elapsed_time(end) * 1e3 for start, end in pairs)
