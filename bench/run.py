"""Runs suites: builds each cell, has each peer measured, and writes the rows."""

from __future__ import annotations

import contextlib
import itertools
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from . import environment, graphs, records, timing
from .ceilings import Ceilings
from .measure import Measurer
from .peers import Peer, UnsupportedError
from .problems import Problem
from .records import Row
from .stopwatch import Stopwatch
from .suites import Cell, Context, Suite

ERROR_COLUMNS = ("suite", "peer", "cell", "error")
MEMORY_SHARE = 0.9


class DeviceLostError(Exception):
    """The device no longer works in this process; the rows so far are on disk."""


@dataclass(frozen=True)
class Options:
    """How to run.

    Attributes:
        deterministic: without deterministic algorithms, with them, or one after the other.
        budget_s: about how long a device time may take.
        deadline: on time.monotonic()'s clock; no cell is begun after it.
    """

    device: torch.device
    out: Path
    dtypes: tuple[torch.dtype, ...] = (torch.float32,)
    index_dtypes: tuple[torch.dtype, ...] = (torch.int64,)
    deterministic: tuple[bool, ...] = (False,)
    filters: Mapping[str, list[str]] = field(default_factory=dict)
    quick: bool = False
    resume: bool = False
    static_shapes: bool = False
    budget_s: float = timing.BUDGET_S
    deadline: float | None = None


@dataclass
class Outcome:
    """What became of a suite's run.

    Attributes:
        rows: those that were written.
        notes: what was left out or is special, and how often.
        errors: what failed, one text each.
        failed_peers: whose results were wrong, or who raised.
        compilations, compilation_s: by peer.
        complete: False where the deadline came first.
        watch: where the time went.
    """

    path: Path
    rows: list[Row] = field(default_factory=list)
    notes: Counter[str] = field(default_factory=Counter)
    errors: list[str] = field(default_factory=list)
    failed_peers: set[str] = field(default_factory=set)
    compilations: Counter[str] = field(default_factory=Counter)
    compilation_s: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    complete: bool = True
    watch: Stopwatch = field(default_factory=Stopwatch)


def run_suite(suite: Suite, peers: Sequence[Peer], options: Options, limits: Ceilings) -> Outcome:
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
    total = len(contexts) * len(cells) * len(options.deterministic) * len(peers)
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

    def __init__(self, suite: Suite, options: Options, limits: Ceilings) -> None:
        self.suite = suite
        self.options = options
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
        watch = self.outcome.watch
        self.measurer = Measurer(options.device, limits, options.budget_s, watch)

    def measure_cell(
        self, cell: Cell, peers: Sequence[Peer], context: Context, bar: tqdm
    ) -> Iterator[str]:
        """Measures one cell; yields what the user should see at once."""
        wanted = list(itertools.product(self.options.deterministic, peers))
        identities = [self._identity(cell, peer, context, mode) for mode, peer in wanted]
        missing = [
            (mode, peer, identity)
            for (mode, peer), identity in zip(wanted, identities, strict=True)
            if records.key(identity) not in self.done
        ]
        bar.update(len(wanted) - len(missing))
        if not missing:
            return
        with self.outcome.watch.phase("build"):
            problem = self._build(cell, context)
        for deterministic, peer, identity in missing:
            if problem is not None:
                with _deterministic(deterministic):
                    message = self._measure_peer(cell, peer, problem, identity)
                if message:
                    yield message
            bar.update()

    def _build(self, cell: Cell, context: Context) -> Problem | None:
        if not self._fits(self.suite.memory_bytes(cell, context)):
            self.outcome.notes["cells left out: not enough memory"] += 1
            return None
        try:
            return self.suite.build(cell, context)
        except (ImportError, ValueError, torch.OutOfMemoryError) as error:
            self.outcome.notes[f"cells left out: {error}"] += 1
            return None

    def _fits(self, needed: int) -> bool:
        device = self.options.device
        if device.type == "cuda" and needed > MEMORY_SHARE * environment.memory_free_bytes(device):
            graphs.release()
        return needed <= MEMORY_SHARE * environment.memory_free_bytes(device)

    def _measure_peer(
        self, cell: Cell, peer: Peer, problem: Problem, identity: Mapping[str, object]
    ) -> str | None:
        try:
            row = self.measurer.measure(peer, problem)
        except UnsupportedError as reason:
            self.outcome.notes[f"{peer.name}: {reason}"] += 1
            return None
        except Exception as error:  # Whatever a peer raises is reported, and the grid goes on.
            return self._fail(cell, peer, error)
        if row.not_captured:
            self.outcome.notes[f"{peer.name} is not timed as a graph: {row.not_captured}"] += 1
        if row.values["compilations"]:
            self.outcome.compilations[peer.name] += row.values["compilations"]
            self.outcome.compilation_s[peer.name] += row.values["first_call_s"]
        now = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        written = {**identity, **row.values, **self.environment, "time": now}
        self.writer.append(written)
        self.outcome.rows.append({name: records.text(value) for name, value in written.items()})
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

    def _identity(
        self, cell: Cell, peer: Peer, context: Context, deterministic: bool
    ) -> dict[str, object]:
        return {
            "suite": self.suite.name,
            "peer": peer.name,
            "device": context.device.type,
            "dtype": str(context.dtype).removeprefix("torch."),
            "index_dtype": str(context.index_dtype).removeprefix("torch."),
            "deterministic": "yes" if deterministic else "no",
            "shapes": "static" if self.options.static_shapes else "dynamic",
            **cell,
        }


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
    try:
        if isinstance(error, torch.OutOfMemoryError):
            graphs.release()
        torch.cuda.synchronize()
    except RuntimeError as lost:
        raise DeviceLostError(f"the device was lost: {lost}") from error
