"""Two runs against each other: ratios, verdicts, and the exit status that goes with them."""

from __future__ import annotations

from pathlib import Path

import pytest
from bench_rows import write

from bench.cli import main

CELLS = {
    "rows": ["10", "100", "1000"],
    "width": ["8"],
    "indices": ["32"],
    "distribution": ["uniform"],
}


def run(folder: Path, factor: float = 1.0, spread: float = 1.0, **more: object) -> Path:
    """Times of two peers; those of ours times a factor, and scattered around that."""
    scatter = {"10": 1 / spread, "100": 1.0, "1000": spread}
    times = {
        "torch_eager": lambda cell: 100.0,
        "embed_ops": lambda cell: 10.0 * factor * scatter[cell["rows"]],
    }
    write(folder, "backward", times, CELLS, **more)
    return folder


def compare(old: Path, new: Path, *more: str) -> int:
    return main(["compare", str(old), str(new), *more])


def test_two_runs_of_one_commit_agree(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old, new = run(tmp_path / "old"), run(tmp_path / "new", factor=1.02, spread=1.2)
    assert compare(old, new) == 0
    printed = capsys.readouterr().out.splitlines()
    assert (
        "backward, torch_eager: two runs of commit abc agree within 5% in geometric mean: "
        "1.000 over 3 cells, 3 of them within 5%, 1.000 to 1.000"
    ) in printed
    assert (
        "backward, embed_ops: two runs of commit abc agree within 5% in geometric mean: "
        "0.980 over 3 cells, 1 of them within 5%, 0.817 to 1.176"
    ) in printed


@pytest.mark.parametrize("factor", [0.9, 1.1])
def test_two_runs_of_one_commit_must_agree(
    factor: float, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new = run(tmp_path / "old"), run(tmp_path / "new", factor=factor)
    assert compare(old, new) == 1
    printed = capsys.readouterr().out
    assert "backward, torch_eager: two runs of commit abc agree within 5%" in printed
    assert "backward, embed_ops: two runs of commit abc do NOT agree within 5%" in printed
    assert compare(old, new, "--tolerance", "0.2") == 0
    assert "abc agree within 20% in geometric mean" in capsys.readouterr().out
    assert compare(old, new, "--tolerance", "0.2", "--metric", "wall_us") == 0


@pytest.mark.parametrize(
    ("of_new", "text"),
    [
        ({"commit": "def"}, "commits abc and def do NOT agree"),
        ({"dirty": "yes"}, "two runs do NOT agree"),
        ({"commit": "unknown"}, "two runs do NOT agree"),
    ],
)
def test_other_commits_may_differ_unless_asked(
    of_new: dict[str, str], text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new = run(tmp_path / "old"), run(tmp_path / "new", factor=0.5, **of_new)
    assert compare(old, new) == 0
    assert (
        f"backward, embed_ops: {text} within 5% in geometric mean: 2.000" in capsys.readouterr().out
    )
    assert compare(old, new, "--tolerance", "0.05") == 1


def test_dtypes_and_settings_are_compared_apart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, factor in (("old", 1.0), ("new", 1.3)):
        run(tmp_path / name)
        run(tmp_path / name, dtype="bfloat16", factor=factor)
        run(tmp_path / name, deterministic="yes")
    assert compare(tmp_path / "old", tmp_path / "new") == 1
    lines = capsys.readouterr().out.split("worst cells")[0].splitlines()
    ours = [
        line.split(":")[0] + (" NO" if "NOT" in line else "") for line in lines if "embed" in line
    ]
    assert ours == [
        "backward, embed_ops",
        "backward, bfloat16, embed_ops NO",
        "backward, deterministic, embed_ops",
    ]


def test_worst_cells_come_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old, new = run(tmp_path / "old"), run(tmp_path / "new", spread=2.0)
    assert compare(old, new, "--worst", "2") == 0
    listed = capsys.readouterr().out.split("worst cells of backward, embed_ops\n")[1].splitlines()
    assert [line.split()[0] for line in listed] == ["0.500", "1.000"]
    assert "rows=1000" in listed[0]


def test_cells_of_one_run_alone_are_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new = run(tmp_path / "old"), tmp_path / "new"
    write(new, "backward", {"embed_ops": lambda cell: 10.0}, {**CELLS, "rows": ["10", "77"]})
    assert compare(old, new) == 0
    printed = capsys.readouterr().out
    assert "only in old: 2, only in new: 1" in printed
    assert "only in old: backward, torch_eager\n" in printed
    write(tmp_path / "else", "backward", {"embed_ops": lambda cell: 10.0}, {**CELLS, "rows": ["5"]})
    assert compare(old, tmp_path / "else") == 2
    assert "the two runs have no cell in common" in capsys.readouterr().err
