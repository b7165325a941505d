"""DDP on two ranks, fully_shard on one, distributed tensors: in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytestmark = pytest.mark.skipif(
    not torch.distributed.is_available(), reason="this torch has no distributed package"
)


def run(name: str, world_size: int, tmp_path: Path) -> list[str]:
    """What each rank prints."""
    program = Path(__file__).with_name("inductor_distributed.py")
    processes = [
        subprocess.Popen(
            [sys.executable, program, name, tmp_path / "store", str(rank), str(world_size)],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(world_size)
    ]
    printed = []
    for process in processes:
        out, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
        printed.append(out)
    return printed


def test_ddp_on_two_ranks(tmp_path: Path) -> None:
    assert run("ddp", 2, tmp_path) == ["gradients are equal\n"] * 2


def test_fully_shard_on_one_rank(tmp_path: Path) -> None:
    assert run("fsdp", 1, tmp_path) == ["gradients are equal\n"]


def test_distributed_tensors_are_left_alone(tmp_path: Path) -> None:
    (printed,) = run("dtensor", 1, tmp_path)
    assert "the table is a DTensor" in printed
