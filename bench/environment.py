"""What a row must say about where it comes from."""

from __future__ import annotations

import functools
import os
import platform
import re
import subprocess
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ("csrc", "embed_ops", "meta", "bench", "setup.py", ":(exclude)bench/results")


def describe(device: torch.device) -> dict[str, str]:
    """The columns ``device, gpu, driver, cuda, torch, python, commit, dirty``.

    Commit and dirty are those of the checkout, or "unknown" where it is no repository. Of a copied
    tree, which may lie in a repository that is at another commit, the variables BENCH_COMMIT and
    BENCH_DIRTY (yes or no) say them.
    """
    commit, dirty = _commit()
    return {
        "device": device.type,
        "gpu": device_name(device),
        "driver": _driver() if device.type == "cuda" else "",
        "cuda": torch.version.cuda or "",
        "torch": torch.__version__,
        "python": platform.python_version(),
        "commit": commit,
        "dirty": dirty,
    }


def device_name(device: torch.device) -> str:
    """The GPU's name, or the processor's model and number of threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{_processor()} ({torch.get_num_threads()} threads)"


def slug(device: torch.device) -> str:
    """A folder name: ``h200`` for "NVIDIA H200", ``cpu`` for any processor."""
    if device.type != "cuda":
        return "cpu"
    words = re.findall(r"[a-z0-9]+", torch.cuda.get_device_name(device).lower())
    kept = [w for w in words if w not in ("nvidia", "geforce", "tesla", "quadro")]
    stop = next((i for i, w in enumerate(kept) if i and re.match(r"(\d+gb|sxm|pcie|hbm)", w)), None)
    return "-".join(kept[:stop]) or "gpu"


def memory_free_bytes(device: torch.device) -> int:
    """What the system still has; what torch's allocator keeps for reuse is not counted."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    with open("/proc/meminfo") as file:
        available = next(line for line in file if line.startswith("MemAvailable"))
    return int(available.split()[1]) << 10


@functools.cache
def _commit() -> tuple[str, str]:
    if "BENCH_COMMIT" in os.environ:
        dirty = os.environ.get("BENCH_DIRTY", "unknown").lower()
        known = {"1": "yes", "true": "yes", "0": "no", "false": "no", "yes": "yes", "no": "no"}
        return os.environ["BENCH_COMMIT"], known.get(dirty, "unknown")
    # A copied tree may lie inside of another repository.
    if _output("git", "rev-parse", "--show-toplevel") != str(ROOT):
        return "unknown", "unknown"
    changes = _output("git", "status", "--porcelain", "--", *SOURCES)
    return _output("git", "rev-parse", "HEAD") or "unknown", "yes" if changes else "no"


@functools.cache
def _driver() -> str:
    query = ("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader")
    return (_output(*query) or "unknown").splitlines()[0]


@functools.cache
def _processor() -> str:
    with open("/proc/cpuinfo") as file:
        models = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
    return models[0] if models else platform.machine()


def _output(*command: str) -> str | None:
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
