"""Calls for profilers, and the table of what ncu read."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from bench.cli import main
from bench.counters import METRICS

KERNEL = "void embed_ops::fill_zero_kernel<embed_ops::ChunkedBlocks<1>>(T1)"


def written(folder: Path, *kernels: tuple[str, str, list[str]]) -> str:
    """A file as ncu writes it."""
    columns = ["ID", "thread Domain:Push/Pop_Range:PL_Type:Msg", "Kernel Name", "Grid Size"]
    lines = ["==PROF== Connected", _csv([*columns, *(metric.name for metric in METRICS)])]
    lines.append(_csv([""] * (len(columns) + len(METRICS))))
    for number, (ranges, kernel, values) in enumerate(kernels):
        lines.append(_csv([str(number), ranges, kernel, "(1, 1, 1)", *values]))
    path = folder / "ncu.csv"
    path.write_text("\n".join([*lines, "==PROF== Disconnected"]))
    return str(path)


def _csv(cells: list[str]) -> str:
    return ",".join(f'"{cell}"' for cell in cells)


def test_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values = ["12,340", "50.25", *["1"] * 6, "4,000,000", "1,234,000,000", "32"]
    file = written(
        tmp_path,
        ("7 <default domain>:backward ours:none:none ", KERNEL, values),
        ("7 <default domain>:backward ours:none:none ", "add(int *)", values),
        ("7 <default domain>:forward ours:none:none ", "add(int *)", values),
    )
    assert main(["counters", file]) == 0
    numbers = "12.3 | 50.2 | 1 | 1 | 1 | 1 | 1 | 1 | 4 | 1234 | 32 |"
    assert capsys.readouterr().out.splitlines()[2:] == [
        f"| backward ours | fill_zero_kernel | {numbers}",
        f"|  | add | {numbers}",
        f"| forward ours | add | {numbers}",
    ]


def test_files_of_something_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for text in ("", '"ID","Kernel Name"\n'):
        (tmp_path / "other.csv").write_text(text)
        assert main(["counters", str(tmp_path / "other.csv")]) == 2
        assert "not a raw CSV file of ncu" in capsys.readouterr().err
    assert main(["counters"]) == 2


def test_metrics_are_those_of_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["counters", "--metrics"]) == 0
    assert capsys.readouterr().out.strip().split(",") == [metric.name for metric in METRICS]


def test_profiles_need_a_gpu(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profile", "backward", "--quick", "--device", "cpu"]) == 2
    assert "needs a CUDA device" in capsys.readouterr().err


@pytest.mark.gpu
def test_every_call_is_a_range(monkeypatch: pytest.MonkeyPatch) -> None:
    names: list[str] = []
    monkeypatch.setattr(torch.cuda.nvtx, "range_push", names.append)
    peers = "torch_eager,embed_ops"
    assert main(["profile", "backward", "--quick", "--filter", "width=8", "--peers", peers]) == 0
    assert len(names) == len(set(names)) > 2
    assert all("width=8" in name for name in names)
