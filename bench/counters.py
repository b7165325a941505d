"""What bounds a cell: hardware counters, which NVIDIA's Nsight Compute (ncu) reads while calls of
single cells run.

    ncu --profile-from-start off --nvtx --csv --page raw --print-units base --log-file ncu.csv \\
        --metrics $(python -m bench counters --metrics) \\
        python -m bench profile backward --filter rows=10000 --filter width=128 --peers embed_ops
    python -m bench counters ncu.csv
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch

WARM_UPS = 2
NVTX = "Push/Pop_Range"


class Metric(NamedTuple):
    """A column of the table: ``name`` is ncu's, whose values are divided by ``unit``."""

    column: str
    name: str
    unit: float = 1.0


METRICS = (
    Metric("us", "gpu__time_duration.sum", 1e3),
    Metric("DRAM %", "dram__throughput.avg.pct_of_peak_sustained_elapsed"),
    Metric("L2 %", "lts__t_sectors.avg.pct_of_peak_sustained_elapsed"),
    Metric("L1 %", "l1tex__throughput.avg.pct_of_peak_sustained_active"),
    Metric("issue %", "smsp__issue_active.avg.pct_of_peak_sustained_active"),
    Metric("warps %", "sm__warps_active.avg.pct_of_peak_sustained_active"),
    Metric("L1 hits %", "l1tex__t_sector_hit_rate.pct"),
    Metric("L2 hits %", "lts__t_sector_hit_rate.pct"),
    Metric("MB read", "dram__bytes_read.sum", 1e6),
    Metric("MB written", "dram__bytes_write.sum", 1e6),
    Metric("registers", "launch__registers_per_thread"),
)


class CountersError(Exception):
    """A file that is not ncu's table of :data:`METRICS`."""


def call_once(name: str, run: Callable[[], Any]) -> None:
    """Calls ``run`` for a profiler that waits for cudaProfilerStart, as an NVTX range ``name``."""
    for _ in range(WARM_UPS):
        run()
    torch.cuda.synchronize()
    torch.cuda.profiler.start()
    with torch.cuda.nvtx.range(name):
        run()
        torch.cuda.synchronize()
    torch.cuda.profiler.stop()


def table(path: Path) -> str:
    """The kernels of ncu's raw CSV file, call by call, as Markdown.

    Raises:
        CountersError: not such a file.
    """
    lines = [_line(["call", "kernel", *(metric.column for metric in METRICS)])]
    lines.append(_line(["---", "---", *["---:"] * len(METRICS)]))
    last = None
    for call, kernel, values in _kernels(path):
        lines.append(_line(["" if call == last else call, kernel, *map(_number, values)]))
        last = call
    return "\n".join(lines)


def _kernels(path: Path) -> Iterator[tuple[str, str, list[float]]]:
    """Call, kernel and the values of all metrics."""
    with path.open(newline="") as file:
        rows = list(csv.reader(line for line in file if not line.startswith("==")))
    header = rows[0] if rows else []
    try:
        kernel = header.index("Kernel Name")
        places = [header.index(metric.name) for metric in METRICS]
    except ValueError as missing:
        raise CountersError(
            f"{path}: not a raw CSV file of ncu with our metrics: {missing}"
        ) from None
    ranges = next((at for at, name in enumerate(header) if NVTX in name), None)
    for row in rows[2:]:  # The second row has the units.
        values = [
            float(row[at].replace(",", "")) / metric.unit
            for at, metric in zip(places, METRICS, strict=True)
        ]
        yield "" if ranges is None else _innermost(row[ranges]), _short(row[kernel]), values


def _innermost(ranges: str) -> str:
    """Of ``"1 <default domain>:NAME:none:..."`` the name."""
    found = re.search(r"<default domain>:([^:]*):", ranges)
    return found[1] if found else ranges


def _short(kernel: str) -> str:
    """Without namespaces, template arguments and parameters."""
    return re.sub(r"[<(].*", "", kernel).split("::")[-1].split()[-1]


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 1000 or value == int(value) else f"{value:.1f}"


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"
