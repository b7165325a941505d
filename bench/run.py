"""Runs suites: builds each cell, checks each peer's result, times it, and writes the row."""

from __future__ import annotations

import contextlib
import itertools
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from . import ceilings, environment, records, timing
from .peers import Call, Peer, UnsupportedError
from .problems import Problem, Result
from .suites import Cell, Context, Suite

ERROR_COLUMNS = ("suite", "peer", "cell", "error")
MEMORY_SHARE = 0.9


class DeviceLostError(Exception):
    """The device no longer works in this process; the rows so far are on disk."""


@dataclass(frozen=True)
class Options:
    """How to run.

    Attributes:
        budget_s: about how long each peer's device time is measured in each cell.
        deadline: on time.monotonic()'s clock; no cell is begun after it.
    """

    device: torch.device
    out: Path
    dtypes: tuple[torch.dtype, ...] = (torch.float32,)
    index_dtypes: tuple[torch.dtype, ...] = (torch.int64,)
    filters: Mapping[str, list[str]] = field(default_factory=dict)
    quick: bool = False
    resume: bool = False
    deterministic: bool = False
    static_shapes: bool = False
    budget_s: float = timing.BUDGET_S
    deadline: float | None = None


@dataclass
class Outcome:
    """What became of a suite's run."""

    path: Path
    rows: int = 0
    notes: Counter[str] = field(default_factory=Counter)
    errors: list[str] = field(default_factory=list)
    failed_peers: set[str] = field(default_factory=set)
    complete: bool = True


def run_suite(
    suite: Suite, peers: Sequence[Peer], options: Options, limits: ceilings.Ceilings
) -> Outcome:
    """Measures every cell of a suite with every peer.

    Rows are appended to ``out/SUITE.csv``, failures to ``out/SUITE.errors.csv``. Without ``resume``
    an earlier file is kept as ``SUITE.previous.csv``.

    Raises:
        FilterError: a filter that fits no axis.
        RecordsError: a file that cannot be continued.
        DeviceLostError: an error of the device after which nothing more can be run.
    """
    contexts = [
        Context(options.device, dtype, index_dtype, options.quick)
        for dtype in options.dtypes
        for index_dtype in options.index_dtypes
    ]
    cells = list(suite.cells(options.quick, options.filters))
    run = _Run(suite, options, limits)
    total = len(contexts) * len(cells) * len(peers)
    # In a log file each refresh is a line.
    pause_s = 0.1 if sys.stderr.isatty() else 10.0
    progress = tqdm(total=total, desc=suite.name, unit="row", mininterval=pause_s)
    with contextlib.ExitStack() as stack, progress as bar:
        for peer in peers:
            stack.enter_context(peer.settings())
        for context, cell in itertools.product(contexts, cells):
            if options.deadline is not None and time.monotonic() > options.deadline:
                run.outcome.complete = False
                break
            for message in run.measure_cell(cell, peers, context, bar):
                bar.write(message)
    return run.outcome


class _Run:
    """One suite's run: its files, and what is the same in all its rows."""

    def __init__(self, suite: Suite, options: Options, limits: ceilings.Ceilings) -> None:
        self.suite = suite
        self.options = options
        self.limits = limits
        self.environment = environment.describe(options.device)
        path = options.out / f"{suite.name}.csv"
        errors = options.out / f"{suite.name}.errors.csv"
        if not options.resume:
            if path.exists():
                path.replace(options.out / f"{suite.name}.previous.csv")
            errors.unlink(missing_ok=True)
        header = records.columns([axis.name for axis in suite.axes])
        self.writer = records.Writer(path, header)
        self.errors_path = errors
        self.done = {records.key(row) for row in records.read(path)}
        self.outcome = Outcome(path)

    def measure_cell(
        self, cell: Cell, peers: Sequence[Peer], context: Context, bar: tqdm
    ) -> Iterator[str]:
        """Measures one cell; yields what the user should see at once."""
        missing = [
            p for p in peers if records.key(self._identity(cell, p, context)) not in self.done
        ]
        bar.update(len(peers) - len(missing))
        if not missing:
            return
        problem = self._build(cell, context)
        for peer in missing:
            if problem is not None:
                message = self._measure_peer(cell, peer, problem, context)
                if message:
                    yield message
            bar.update()

    def _build(self, cell: Cell, context: Context) -> Problem | None:
        needed = self.suite.memory_bytes(cell, context)
        if needed > MEMORY_SHARE * environment.memory_free_bytes(context.device):
            self.outcome.notes["cells left out: not enough memory"] += 1
            return None
        try:
            return self.suite.build(cell, context)
        except (ImportError, ValueError, torch.OutOfMemoryError) as error:
            self.outcome.notes[f"cells left out: {error}"] += 1
            return None

    def _measure_peer(
        self, cell: Cell, peer: Peer, problem: Problem, context: Context
    ) -> str | None:
        identity = self._identity(cell, peer, context)
        try:
            with _deterministic(self.options.deterministic):
                row = measure(peer, problem, context.device, self.limits, self.options.budget_s)
        except UnsupportedError as reason:
            self.outcome.notes[f"{peer.name}: {reason}"] += 1
            return None
        except Exception as error:  # Whatever a peer raises is reported, and the grid goes on.
            return self._fail(cell, peer, error)
        now = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        self.writer.append({**identity, **row, **self.environment, "time": now})
        self.outcome.rows += 1
        return None

    def _fail(self, cell: Cell, peer: Peer, error: Exception) -> str:
        where = " ".join(f"{name}={value}" for name, value in cell.items())
        first_line = (str(error).strip() or "no message").splitlines()[0]
        text = f"{type(error).__name__}: {first_line}"
        writer = records.Writer(self.errors_path, ERROR_COLUMNS)
        writer.append({"suite": self.suite.name, "peer": peer.name, "cell": where, "error": text})
        self.outcome.errors.append(f"{peer.name}, {where}: {text}")
        self.outcome.failed_peers.add(peer.name)
        if self.options.device.type == "cuda":
            _require_device(error)
        return f"{peer.name} failed at {where}: {text}"

    def _identity(self, cell: Cell, peer: Peer, context: Context) -> dict[str, object]:
        return {
            "suite": self.suite.name,
            "peer": peer.name,
            "device": context.device.type,
            "dtype": str(context.dtype).removeprefix("torch."),
            "index_dtype": str(context.index_dtype).removeprefix("torch."),
            "deterministic": "yes" if self.options.deterministic else "no",
            "shapes": "static" if self.options.static_shapes else "dynamic",
            **cell,
        }


def measure(
    peer: Peer,
    problem: Problem,
    device: torch.device,
    limits: ceilings.Ceilings,
    budget_s: float = timing.BUDGET_S,
) -> dict[str, object]:
    """One peer on one problem: checked, then timed. Returns the measured columns of a row.

    Raises:
        UnsupportedError: the peer does not do such a problem.
        WrongResultError: its result is not the reference's.
    """
    call = peer.prepare(problem)
    timing.synchronize(device)
    start = time.perf_counter()
    result = call.run()
    timing.synchronize(device)
    first_call_s = time.perf_counter() - start
    if problem.repeatable:
        # Poisoned and freed, its memory goes to the next call: what that call leaves unwritten
        # shows, instead of an earlier, right result.
        _poison(result)
        del result
        result = call.run()
    error_share = problem.check(result)
    del result
    peak_mb = _peak_mb(call, device)
    fn, captured = call.run, None
    if device.type == "cuda" and call.capturable and problem.repeatable:
        captured = timing.capture(call.run)
    if captured is not None:
        # What is timed is the graph, so the graph's own result has to be right as well.
        _poison(captured.result)
        error_share = max(error_share, problem.check(captured()))
    on_device = timing.device_time(captured or fn, device=device, budget_s=budget_s, graph=False)
    wall = timing.wall_time(fn, device=device)
    roofline_us = limits.roofline_us(problem.bytes_read, problem.bytes_written)
    row: dict[str, object] = {
        "device_us": on_device.p50,
        "device_p20_us": on_device.p20,
        "device_p80_us": on_device.p80,
        "repetitions": on_device.repetitions,
        "method": on_device.method,
        "wall_us": wall.p50,
        "wall_p20_us": wall.p20,
        "wall_p80_us": wall.p80,
        "first_call_s": first_call_s,
        "peak_mb": peak_mb,
        "error_share": error_share,
        "copy_tbps": limits.copy / 1e12,
        "fill_tbps": limits.fill / 1e12,
        "read_tbps": limits.read / 1e12,
        "floor_us": limits.floor_us,
    }
    if roofline_us:
        row["bytes_read"] = problem.bytes_read
        row["bytes_written"] = problem.bytes_written
        row["roofline_us"] = roofline_us
    if problem.rows_bytes:
        row["rows_tbps"] = problem.rows_bytes / (on_device.p50 * 1e6)
    return row


def _poison(result: Result) -> None:
    for tensor in result.values():
        tensor.fill_(torch.nan)


def _peak_mb(call: Call, device: torch.device) -> float | str:
    """What one call needs beyond its inputs, results included; unknown on the CPU."""
    if device.type != "cuda":
        return ""
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    call.run()
    torch.cuda.synchronize(device)
    return (torch.cuda.max_memory_allocated(device) - before) / 1e6


@contextlib.contextmanager
def _deterministic(wanted: bool) -> Iterator[None]:
    before = torch.are_deterministic_algorithms_enabled()
    aids: Any = torch.utils.deterministic
    fill_before = aids.fill_uninitialized_memory
    torch.use_deterministic_algorithms(wanted)
    # It is for finding bugs, and would be timed along with the ops.
    aids.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
        aids.fill_uninitialized_memory = fill_before


def _require_device(error: Exception) -> None:
    if isinstance(error, torch.OutOfMemoryError):
        torch.cuda.empty_cache()
    try:
        torch.cuda.synchronize()
    except RuntimeError as lost:
        raise DeviceLostError(f"the device was lost: {lost}") from error
