"""One row: a peer on a problem, checked and then timed."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from . import graphs, timing
from .ceilings import Ceilings
from .peers import Call, Peer
from .problems import Problem, Result
from .stopwatch import Stopwatch

Values = dict[str, Any]


@dataclass(frozen=True)
class Row:
    """What was measured.

    Attributes:
        values: by column.
        not_captured: why the device time is not that of a CUDA graph, where it should have been.
    """

    values: Values
    not_captured: str | None


class Measurer:
    """Measures on one device.

    Args:
        limits: what rooflines are made of.
        budget_s: about how long a device time may take; a wall time no longer than that either.
        watch: is told where the time goes.
    """

    def __init__(
        self, device: torch.device, limits: Ceilings, budget_s: float, watch: Stopwatch
    ) -> None:
        self.device = device
        self.limits = limits
        self.budget_s = budget_s
        self.watch = watch

    def measure(self, peer: Peer, problem: Problem) -> Row:
        """Checks, then times.

        Raises:
            UnsupportedError: the peer does not do such a problem.
            WrongResultError: its result is not the reference's.
        """
        with self.watch.phase("first calls"):
            call = peer.prepare(problem)
            compiled = peer.compilations()
            first = self._first_calls(call, problem)
        fn: Callable[[], Result] = call.run
        not_captured = None
        if self.device.type == "cuda" and call.capturable and problem.repeatable:
            try:
                with self.watch.phase("capture"):
                    captured = graphs.capture(call.run, warm_ups=1)
            except graphs.NotCapturedError as reason:
                not_captured = str(reason)
            else:
                # What is timed is the graph, so the graph's own result has to be right as well.
                with self.watch.phase("check"):
                    _poison(captured.result)
                    first["error_share"] = max(first["error_share"], problem.check(captured()))
                fn = captured
        with self.watch.phase("device time"):
            on_device = timing.device_time(
                fn, device=self.device, budget_s=self.budget_s, graph=False
            )
        with self.watch.phase("wall time"):
            budget_s = min(self.budget_s, timing.WALL_BUDGET_S)
            wall = timing.wall_time(call.run, device=self.device, budget_s=budget_s)
        values = {
            "device_us": on_device.p50,
            "device_p20_us": on_device.p20,
            "device_p80_us": on_device.p80,
            "repetitions": on_device.repetitions,
            "method": on_device.method,
            "wall_us": wall.p50,
            "wall_p20_us": wall.p20,
            "wall_p80_us": wall.p80,
            "compilations": peer.compilations() - compiled,
            **first,
            **self._limits(problem, on_device.p50),
        }
        return Row(values, not_captured)

    def _first_calls(self, call: Call, problem: Problem) -> Values:
        """``first_call_s``, ``peak_mb`` and ``error_share``."""
        timing.synchronize(self.device)
        start = time.perf_counter()
        result = call.run()
        timing.synchronize(self.device)
        first_call_s = time.perf_counter() - start
        if problem.repeatable:
            # Poisoned and freed, its memory goes to the next call: what that call leaves unwritten
            # shows, instead of an earlier, right result.
            _poison(result)
            result = {}
            result, peak_mb = self._with_peak(call)
            with self.watch.phase("check"):
                error_share = problem.check(result)
        else:
            # Before the next call, which changes what may be a view of the same memory.
            with self.watch.phase("check"):
                error_share = problem.check(result)
            result = {}
            result, peak_mb = self._with_peak(call)
            for number in range(1, problem.checked_calls):
                if number > 1:
                    result = call.run()
                with self.watch.phase("check"):
                    error_share = max(error_share, problem.check_later(result, number))
                result = {}
        return {"first_call_s": first_call_s, "peak_mb": peak_mb, "error_share": error_share}

    def _with_peak(self, call: Call) -> tuple[Result, float | str]:
        """The result of a call, and the MB that it needs beyond its inputs, results included;
        unknown on the CPU."""
        if self.device.type != "cuda":
            return call.run(), ""
        # Memory is handed out by the host, so there is no need to wait for the device.
        torch.cuda.reset_peak_memory_stats(self.device)
        before = _allocated(self.device, "current")
        result = call.run()
        return result, (_allocated(self.device, "peak") - before) / 1e6

    def _limits(self, problem: Problem, device_us: float) -> Values:
        limits = self.limits
        values: Values = {
            "copy_tbps": limits.copy / 1e12,
            "fill_tbps": limits.fill / 1e12,
            "read_tbps": limits.read / 1e12,
            "floor_us": limits.floor_us,
        }
        if problem.bytes_read or problem.bytes_written:
            values["bytes_read"] = problem.bytes_read
            values["bytes_written"] = problem.bytes_written
            values["roofline_us"] = limits.roofline_us(problem.bytes_read, problem.bytes_written)
        if problem.rows_bytes:
            values["rows_tbps"] = problem.rows_bytes / (device_us * 1e6)
        return values


def _poison(result: Result) -> None:
    for tensor in result.values():
        tensor.fill_(torch.nan if tensor.is_floating_point() else -1)


def _allocated(device: torch.device, which: str) -> int:
    return torch.cuda.memory_stats_as_nested_dict(device)["allocated_bytes"]["all"][which]
