"""The command line: ``python -m bench run | plot | compare | profile | counters | list``."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from . import ceilings, commands, compare, counters, environment, records, report
from .peers import UnknownPeerError, UnsupportedError, all_peers, choose
from .run import DeviceLostError, Options, run_suite
from .suites import SUITES, Context, FilterError, Suite
from .timing import BUDGET_S

DTYPES = {name: getattr(torch, name) for name in ("float32", "float64", "float16", "bfloat16")}
INDEX_DTYPES = {name: getattr(torch, name) for name in ("int64", "int32")}
DETERMINISTIC = {"no": (False,), "yes": (True,), "both": (False, True)}
OURS = "embed_ops"


class UsageError(Exception):
    """Something on the command line that cannot be done."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit status: 0, 1 if one of our own results was wrong or two runs differ too
    much, 2 for a wrong command line, 130 when interrupted."""
    options = _parser().parse_args(arguments)
    options.command_line = sys.argv[1:] if arguments is None else list(arguments)
    try:
        return options.command(options)
    except (
        UsageError,
        UnknownPeerError,
        FilterError,
        records.RecordsError,
        counters.CountersError,
    ) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    except DeviceLostError as error:
        print(f"bench: {error}; the rows so far are kept", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("bench: interrupted; --resume continues", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description="See bench/README.md.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    # What is to be called, whatever is done with it.
    chosen = argparse.ArgumentParser(add_help=False)
    chosen.add_argument("suites", nargs="+", metavar="SUITE", help="of `list`, or all")
    chosen.add_argument("--device", default=None, help="cuda (default where there is one) or cpu")
    chosen.add_argument("--peers", default=None, help="names of `list`, by commas, or all")
    chosen.add_argument("--dtype", default="float32", help=f"by commas, of {', '.join(DTYPES)}")
    chosen.add_argument("--index-dtype", default="int64", help="int64, int32 or both by a comma")
    chosen.add_argument(
        "--filter",
        action="append",
        default=[],
        metavar="AXIS=VALUE,...",
        help="only these values of an axis of the suite; may be given for several axes",
    )
    chosen.add_argument("--quick", action="store_true", help="a small grid, to see that all works")
    chosen.add_argument(
        "--cuembed-lib", default=None, help="library of cuEmbed's ops (CUEMBED_LIB)"
    )

    run = commands.add_parser("run", parents=[chosen], help="measure one or more suites")
    run.add_argument("--out", type=Path, default=None, help="folder; default build/bench/DEVICE")
    run.add_argument("--resume", action="store_true", help="keep the rows there, measure the rest")
    run.add_argument(
        "--deterministic",
        nargs="?",
        const="yes",
        default="no",
        choices=DETERMINISTIC,
        help="under deterministic algorithms, or without and with them",
    )
    run.add_argument("--static-shapes", action="store_true", help="compile for every shape")
    run.add_argument("--budget-ms", type=float, default=1e3 * BUDGET_S, help="per row, device time")
    run.add_argument("--time-limit", type=float, default=None, metavar="S", help="stop after S s")
    run.set_defaults(command=_run)

    profile = commands.add_parser(
        "profile", parents=[chosen], help="call each cell once, for a profiler (ncu, nsys)"
    )
    profile.set_defaults(command=_profile)

    count = commands.add_parser("counters", help="a table of what ncu read of `profile`")
    count.add_argument("file", type=Path, nargs="?", help="its CSV file")
    count.add_argument("--metrics", action="store_true", help="the names to give ncu instead")
    count.set_defaults(command=_counters)

    draw = commands.add_parser("plot", help="pictures and summary of a folder of results")
    draw.add_argument("dir", type=Path)
    draw.add_argument("--subject", default=None, help="the peer that is compared with the others")
    draw.set_defaults(command=_plot)

    contrast = commands.add_parser("compare", help="two runs, cell by cell")
    contrast.add_argument("old", type=Path, help="a folder of results, or one CSV file")
    contrast.add_argument("new", type=Path)
    contrast.add_argument("--metric", choices=compare.METRICS, default=compare.METRICS[0])
    contrast.add_argument(
        "--worst", type=int, default=5, help="how many of the worst cells to list"
    )
    contrast.add_argument(
        "--tolerance",
        type=float,
        default=None,
        metavar="SHARE",
        help="status 1 if a geometric mean differs from 1 by more; without it, "
        f"{compare.TOLERANCE} for two runs of the same commit",
    )
    contrast.set_defaults(command=_compare)

    show = commands.add_parser("list", help="suites with their axes, and peers")
    show.add_argument("--cuembed-lib", default=None)
    show.set_defaults(command=_list)
    return parser


def _run(options: argparse.Namespace) -> int:
    device = _device(options.device)
    suites = _suites(options.suites)
    if True in DETERMINISTIC[options.deterministic]:
        # cuBLAS refuses to run deterministically without it, and reads it when it starts.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    deadline = None if options.time_limit is None else time.monotonic() + options.time_limit
    settings = Options(
        device=device,
        out=options.out or Path("build", "bench", environment.slug(device)),
        dtypes=_named(DTYPES, options.dtype, "dtype"),
        index_dtypes=_named(INDEX_DTYPES, options.index_dtype, "index dtype"),
        filters=_filters(options.filter),
        quick=options.quick,
        resume=options.resume,
        deterministic=DETERMINISTIC[options.deterministic],
        static_shapes=options.static_shapes,
        budget_s=options.budget_ms / 1e3,
        deadline=deadline,
    )
    peers = all_peers(options.cuembed_lib, options.static_shapes)
    wanted = {
        suite.name: _peer_names(options.peers, suite, list(peers), options.quick)
        for suite in suites
    }
    for suite in suites:
        suite.cells(settings.quick, settings.filters)
        choose(peers, wanted[suite.name], device)
    commands.remember(settings.out, options.command_line)
    limits = ceilings.measure(device, options.quick)
    print(
        f"{environment.device_name(device)}: copy {limits.copy / 1e12:.3g} TB/s, "
        f"fill {limits.fill / 1e12:.3g}, read {limits.read / 1e12:.3g}; "
        f"an empty kernel reads {limits.floor_us:.3g} us"
    )
    status = 0
    for suite in suites:
        present, absent = choose(peers, wanted[suite.name], device)
        for name, reason in absent.items():
            print(f"{name} is left out: {reason}")
        if not present:
            raise UsageError(f"none of the peers of {suite.name} can run here")
        outcome = run_suite(suite, present, settings, limits)
        print(report.of_run(outcome))
        if any(name.startswith(OURS) for name in outcome.failed_peers):
            status = 1
        if not outcome.complete:
            print("bench: out of time; --resume continues")
            break
    return status


def _profile(options: argparse.Namespace) -> int:
    device = _device(options.device)
    if device.type != "cuda":
        raise UsageError("profile needs a CUDA device: it marks calls for CUDA's profilers")
    everyone = all_peers(options.cuembed_lib)
    for suite in _suites(options.suites):
        names = _peer_names(options.peers, suite, list(everyone), options.quick)
        peers, _ = choose(everyone, names, device)
        for dtype in _named(DTYPES, options.dtype, "dtype"):
            for index_dtype in _named(INDEX_DTYPES, options.index_dtype, "index dtype"):
                context = Context(device, dtype, index_dtype, options.quick)
                for cell in suite.cells(options.quick, _filters(options.filter)):
                    problem = suite.build(cell, context)
                    for peer in peers:
                        values = [f"{name}={value}" for name, value in cell.items()]
                        label = [suite.name, peer.name, str(dtype).removeprefix("torch."), *values]
                        with contextlib.suppress(UnsupportedError), peer.settings():
                            counters.call_once(" ".join(label), peer.prepare(problem).run)
    return 0


def _counters(options: argparse.Namespace) -> int:
    if options.metrics:
        print(",".join(metric.name for metric in counters.METRICS))
    elif options.file is None:
        raise UsageError("counters needs a CSV file of ncu, or --metrics")
    else:
        print(counters.table(options.file))
    return 0


def _plot(options: argparse.Namespace) -> int:
    # Here, so that measuring needs no matplotlib.
    from . import summary

    rows = records.read_all(options.dir)
    folder = options.dir if options.dir.is_dir() else options.dir.parent
    for path in summary.write(rows, folder, options.subject):
        print(path)
    return 0


def _compare(options: argparse.Namespace) -> int:
    old, new = records.read_all(options.old), records.read_all(options.new)
    comparisons = compare.compare(old, new, options.metric)
    print(compare.report(comparisons, options.worst, options.tolerance))
    for which, names in (("old", compare.alone(old, new)), ("new", compare.alone(new, old))):
        for name in names:
            print(f"only in {which}: {name}")
    return int(compare.differs(comparisons, options.tolerance))


def _list(options: argparse.Namespace) -> int:
    print("Suites")
    for suite in SUITES.values():
        count = len(list(suite.cells(quick=False)))
        print(f"  {suite.name}: {suite.title} ({count} cells)")
        for axis in suite.axes:
            values = ", ".join(str(value) for value in axis.values)
            beyond = [str(value) for value in axis.more if value not in axis.values]
            more = f" | {', '.join(beyond)}" if beyond else ""
            print(f"      {axis.name}: {values}{more}{' | any number' if axis.free else ''}")
        print(f"      peers: {', '.join(suite.peers)}")
    device = _device(None)
    print(f"Peers, on {environment.device_name(device)}")
    for name, peer in all_peers(options.cuembed_lib).items():
        print(f"  {name}: {peer.absent(device) or 'available'}")
    return 0


def _device(name: str | None) -> torch.device:
    if name is None:
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name not in ("cpu", "cuda"):
        raise UsageError(f"unknown device {name!r}; there are: cuda, cpu")
    if name == "cuda" and not torch.cuda.is_available():
        raise UsageError(
            "device cuda: torch finds no CUDA device here; --device cpu works anywhere"
        )
    return torch.device(name)


def _suites(names: Sequence[str]) -> list[Suite]:
    if list(names) == ["all"]:
        return list(SUITES.values())
    for name in names:
        if name not in SUITES:
            raise UsageError(f"unknown suite {name!r}; there are: {', '.join(SUITES)}, all")
    return [SUITES[name] for name in dict.fromkeys(names)]


def _peer_names(text: str | None, suite: Suite, everyone: list[str], quick: bool) -> list[str]:
    if text is None:
        return list(suite.peers_quick if quick else suite.peers)
    return everyone if text == "all" else list(dict.fromkeys(text.split(",")))


def _named(known: dict[str, torch.dtype], text: str, what: str) -> tuple[torch.dtype, ...]:
    names = list(dict.fromkeys(text.split(",")))
    for name in names:
        if name not in known:
            raise UsageError(f"unknown {what} {name!r}; there are: {', '.join(known)}")
    return tuple(known[name] for name in names)


def _filters(texts: Sequence[str]) -> dict[str, list[str]]:
    filters: dict[str, list[str]] = {}
    for text in texts:
        name, equals, values = text.partition("=")
        if not equals or not values:
            raise UsageError(f"--filter {text!r}: expected AXIS=VALUE[,VALUE...]")
        filters.setdefault(name, []).extend(values.split(","))
    return filters
