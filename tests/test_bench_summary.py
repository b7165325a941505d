"""Goals, the summary and the pictures, from rows whose times are known."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from bench_rows import write

from bench import contrast, goals
from bench.cli import main
from bench.goals import Goal
from bench.records import read_all

Cell = dict[str, str]
BACKWARD = {"rows": ["10", "1000"], "width": ["8"], "distribution": ["uniform", "same_index"]}


def reached(folder: Path, subject: str = "embed_ops", label: str = "") -> dict[str, Goal]:
    """The goals of a group of rows, by text."""
    groups = contrast.groups(read_all(folder))
    (group,) = [g for g in groups if g.label == label]
    return {goal.text: goal for goal in goals.of(group, subject, groups)}


def constant(us: float) -> Callable[[Cell], float]:
    return lambda cell: us


def test_goals_of_the_backward(tmp_path: Path) -> None:
    def ours(cell: Cell) -> float:
        small_and_slow = cell["rows"] == "10" and cell["indices"] == "32"
        return 33.0 if small_and_slow else 10.0

    times = {
        "torch_eager": constant(69.0),
        "inductor": constant(31.0),
        "cuembed": constant(40.0),
        "embed_ops": ours,
        "embed_ops_compiled": constant(1.0),  # Of no account here: it is ours too.
    }
    write(
        tmp_path,
        "backward",
        times,
        BACKWARD,
        roofline_us=lambda cell, us: 45.0 if us < 20 else 30.0,
    )
    found = reached(tmp_path)
    least = found["against fastest other, least"]
    assert (least.wanted, least.measured, least.met) == (">= 0.952", "0.94, 2 below", False)
    assert "rows=10 indices=32" in least.worst
    expected = {
        "against fastest other, mean": ("2.85", 28, True),
        "against fastest other, indices >= 4096, mean": ("3.10", 16, True),
        "against torch_eager, indices >= 4096, mean": ("6.90", 16, False),
        "against inductor, indices >= 4096, mean": ("3.10", 16, True),
        "against cuembed, indices >= 4096, mean": ("4.00", 16, True),
        "share of the roofline, mean": ("4.50", 26, True),
        "share of the roofline, least": ("4.50", 26, True),
    }
    for text, line in expected.items():
        assert (found[text].measured, found[text].cells, found[text].met) == line, text
    assert len(found) == 1 + len(expected)


def test_goals_of_other_dtypes_and_of_determinism(tmp_path: Path) -> None:
    high = {"roofline_us": lambda cell, us: 50.0 if cell["rows"] == "1000" else 20.0}
    write(tmp_path, "backward", {"embed_ops": constant(10.0)}, BACKWARD, **high)

    def halves(cell: Cell) -> float:
        return 5.0 if cell["rows"] == "1000" else 20.0

    write(
        tmp_path,
        "backward",
        {"torch_eager": constant(19.0), "embed_ops": halves},
        BACKWARD,
        dtype="bfloat16",
        roofline_us=10.0,
    )
    found = reached(tmp_path, label="bfloat16")
    ratio = found["against its float32, roofline of that above 40 us, mean"]
    assert (ratio.measured, ratio.cells, ratio.met) == ("2.00", 14, True)
    assert found["against fastest other, least"].measured == "0.95, 14 below"
    slower = {"torch_eager": constant(30.0), "embed_ops": constant(25.0)}
    write(tmp_path, "backward", slower, BACKWARD, deterministic="yes")
    found = reached(tmp_path, label="deterministic")
    assert found["against torch_eager, least"].met
    default = found["against its default, mean"]
    assert (default.measured, default.wanted, default.met) == ("0.40", ">= 0.5", False)


def test_goals_of_the_pooled_forward(tmp_path: Path) -> None:
    def ours(cell: Cell) -> float:
        return 10.0 if cell["layout"] == "fixed" else 10.6

    def rate(cell: Cell, us: float) -> float:
        uniform = 2.8 if cell["width"] == "64" else 2.7
        return uniform if cell["alpha"] == "0" else 9.5

    write(
        tmp_path, "cuembed_forward", {"cuembed": constant(12.0), "embed_ops": ours}, rows_tbps=rate
    )
    found = reached(tmp_path)
    expected = {
        "against cuembed, fixed, least": ("1.20", 54, True),
        "against cuembed, fixed, mean": ("1.20", 54, True),
        "against cuembed, csr, least": ("1.13", 54, True),
        "against cuembed, csr, mean": ("1.13", 54, False),
        "against cuembed, batch 512, mean": ("1.17", 12, False),
        "own fixed / own csr, least": ("0.94, 54 below", 54, False),
        "share of the read ceiling, uniform, batch >= 32768, width >= 64, least": (
            "0.90, 6 below",
            12,
            False,
        ),
        "share of the read ceiling, uniform, batch >= 32768, width 32, least": ("0.90", 6, True),
        "TB/s of rows, power law, batch 131072, width 64, least": ("9.50", 2, True),
    }
    assert {t: (g.measured, g.cells, g.met) for t, g in found.items()} == expected


def test_goals_of_16_bits_are_against_float16_of_cuembed(tmp_path: Path) -> None:
    write(tmp_path, "cuembed_forward", {"embed_ops": constant(10.0)})
    halves = {"cuembed": constant(6.0), "embed_ops": constant(7.0)}
    write(tmp_path, "cuembed_forward", halves, dtype="float16")
    write(tmp_path, "cuembed_forward", {"embed_ops": constant(5.0)}, dtype="bfloat16")
    for label, measured in (
        ("float16", ("0.86, 108 below", "1.43")),
        ("bfloat16", ("1.20", "2.00")),
    ):
        found = reached(tmp_path, label=label)
        assert found["against cuembed's float16, least"].measured == measured[0]
        ratio = found["against its float32, batch >= 32768, mean"]
        assert (ratio.measured, ratio.cells) == (measured[1], 36)


def test_goals_of_the_sweep(tmp_path: Path) -> None:
    def ours(cell: Cell) -> float:
        return 10.0 if cell["direction"] == "forward" else 100.0

    write(tmp_path / "gpu", "cuembed_sweep", {"cuembed": constant(11.0), "embed_ops": ours})
    found = reached(tmp_path / "gpu")
    assert {t: (g.measured, g.cells, g.met) for t, g in found.items()} == {
        "against cuembed, forward, least": ("1.10", 108, True),
        "against cuembed, forward, mean": ("1.10", 108, False),
    }

    def eager(cell: Cell) -> float:
        return 12.0 if int(cell["batch"]) * int(cell["hotness"]) >= 4096 else 1.0

    times = {"torch_eager": eager, "embed_ops": constant(10.0)}
    write(tmp_path / "cpu", "cuembed_sweep", times, device="cpu")
    found = reached(tmp_path / "cpu")
    assert {t: (g.measured, g.cells, g.met) for t, g in found.items()} == {
        "against torch_eager, least": ("1.20", 192, True),
        "against torch_eager, mean": ("1.20", 192, True),
    }


def test_goals_of_many_tables_are_about_wall_time(tmp_path: Path) -> None:
    def graphs(cell: Cell) -> float:
        return 50.0 if cell["batch"] == "16384" else 1.0

    times = {
        "torch_eager": constant(90.0),
        "inductor_cudagraphs": graphs,
        "embed_ops": constant(10.0),
        "embed_ops_compiled": constant(8.0),
    }
    wall = {"wall_us": lambda cell, us: us * us}
    write(tmp_path, "fast_multi_embedding", times, {"part": ["step", "forward"]}, **wall)
    found = reached(tmp_path)
    eager = found["wall time against torch_eager, batch 16384, mean"]
    assert (eager.measured, eager.cells, eager.met) == ("81.00", 77, True)
    assert found["wall time against inductor_cudagraphs, batch 16384, mean"].measured == "25.00"
    assert found["share of the roofline, forward of 10s, mean"].cells == 7
    compiled = reached(tmp_path, "embed_ops_compiled")
    assert compiled["wall time against torch_eager, batch 16384, mean"].measured == "126.56"


def test_goals_of_the_host_and_of_other_suites(tmp_path: Path) -> None:
    small = {"width": ["8"], "batch": ["32", "64"], "rows": ["10"]}
    times = {
        "torch_eager": constant(10.0),
        "inductor": constant(10.0),
        "embed_ops": constant(14.0),
        "embed_ops_compiled": constant(11.0),
    }
    write(tmp_path / "fast", "fast_embedding", times, small)
    text = "wall time against {}, width 8, batch 32, mean"
    eager = reached(tmp_path / "fast")[text.format("torch_eager")]
    assert (eager.measured, eager.wanted, eager.cells, eager.met) == ("0.71", ">= 0.667", 6, True)
    compiled = reached(tmp_path / "fast", "embed_ops_compiled")[text.format("inductor")]
    assert (compiled.measured, compiled.wanted, compiled.met) == ("0.91", ">= 0.952", False)

    bags = {"cuembed": constant(13.0), "embed_ops": constant(10.0)}
    write(tmp_path / "bags", "bag_backward", bags)
    assert all(goal.met for goal in reached(tmp_path / "bags").values())
    assert len(reached(tmp_path / "bags")) == 2

    def written(cell: Cell, us: float) -> float:
        return 4.0 * int(cell["width"]) * int(cell["indices"])

    more = {
        "bytes_written": written,
        "rows_tbps": lambda cell, us: 1.4,
        "copy_tbps": lambda cell, us: 3.0,
    }
    write(tmp_path / "copy", "forward", {"embed_ops": constant(54.0)}, **more)
    (copy,) = reached(tmp_path / "copy").values()
    assert (copy.measured, copy.met) == ("0.93, 30 below", False)

    def host_bound(cell: Cell, us: float) -> float:
        return 150.0 if cell["batch"] == "512" else us

    pooled = {"fbgemm": constant(30.0), "embed_ops": constant(30.0)}
    write(tmp_path / "pooled", "pooled_tables", pooled, wall_us=host_bound)
    found = reached(tmp_path / "pooled")
    assert found["against fbgemm, least"].met
    wall = found["wall time against fbgemm where its host is slower, mean"]
    assert (wall.measured, wall.cells) == ("1.00", 8)


def test_goals_of_models_are_against_the_same_mode(tmp_path: Path) -> None:
    def theirs(cell: Cell) -> float:
        return {"dlrm_20": 24.0, "movielens": 17.0, "gpt_tied": 9.0}.get(cell["model"], 30.0)

    times = {
        "torch_eager": constant(1.0),
        "inductor": theirs,
        "embed_ops_backend": constant(10.0),
        "inductor_cudagraphs": constant(30.0),
        "embed_ops_backend_cudagraphs": constant(10.0),
    }

    def compilations(cell: Cell, us: float) -> int:
        return int(cell["part"] == "forward_backward")

    def first_call_s(cell: Cell, us: float) -> float:
        return us if compilations(cell, us) else 0.0

    more = {"compilations": compilations, "first_call_s": first_call_s}
    write(tmp_path, "model", times, **more)
    found = reached(tmp_path, "embed_ops_backend")
    text = "against inductor, dlrm forward + backward, perceptrons in {}, least"
    assert found[text.format("tf32")].met
    recommender = found[text.format("float32")]
    assert (recommender.measured, recommender.cells) == ("2.40, 1 below", 2)
    assert recommender.worst == "model=dlrm_20 part=forward_backward"
    language = found["against inductor, gpt, least"]
    assert (language.measured, language.cells) == ("0.90, 2 below", 6)
    assert found["against inductor, movielens and gnn, least"].met
    small = found["against inductor, movielens and gnn, mean"]
    assert (small.measured, small.cells, small.met) == ("2.26", 4, True)
    assert found["against inductor, wall time, least"].cells == 18
    compiling = found["compile time of inductor / own, least"]
    assert (compiling.measured, compiling.cells) == ("0.90, 1 below", 9)
    graphs = reached(tmp_path, "embed_ops_backend_cudagraphs")
    assert all("inductor_cudagraphs" in text for text in graphs)
    assert all(goal.met for goal in graphs.values())


def test_goals_of_odd_widths_are_in_proportion_to_bytes(tmp_path: Path) -> None:
    def time(cell: Cell) -> float:
        extra = 1.6 if cell["case"] == "unaligned" and cell["op"] == "backward" else 1.0
        return extra * roofline(cell, 0.0) * (1.2 if cell["case"] == "itself" else 1.0)

    def roofline(cell: Cell, us: float) -> float:
        return {"below": 32.0, "above": 64.0}.get(cell["case"], 33.0)

    around = {"around": ["33"], "op": ["forward", "backward"]}
    write(tmp_path, "odd_widths", {"embed_ops": time}, around, roofline_us=roofline)
    found = reached(tmp_path)
    assert found["forward against the aligned width below, least"].measured == "0.83"
    assert found["forward against the aligned width above, least"].met
    assert found["forward against itself aligned, least"].measured == "1.20"
    unaligned = found["backward against itself aligned, least"]
    assert (unaligned.measured, unaligned.met) == ("0.75, 1 below", False)
    assert len(found) == 6


def test_goals_need_rows(tmp_path: Path) -> None:
    write(tmp_path, "backward", {"embed_ops": constant(10.0)}, BACKWARD, roofline_us=1.0)
    write(tmp_path, "model", {"torch_eager": constant(1.0), "embed_ops": constant(1.0)})
    groups = contrast.groups(read_all(tmp_path))
    assert [goals.of(group, "embed_ops", groups) for group in groups] == [[], []]


def test_the_summary_has_it_all_on_one_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    times = {"torch_eager": constant(80.0), "inductor": constant(30.0), "embed_ops": constant(10.0)}
    write(tmp_path, "backward", times, BACKWARD)
    events = {"dtype": "float16", "method": "events"}
    write(tmp_path, "backward", {"embed_ops": constant(4.0)}, BACKWARD, **events)
    write(tmp_path, "backward", {"embed_ops": constant(16.0)}, BACKWARD, deterministic="yes")
    write(tmp_path, "cuembed_forward", times)
    write(tmp_path, "model", times)
    (tmp_path / "commands.txt").write_text(
        "python -m bench run backward model\npython -m bench run all --resume\n"
    )
    assert main(["plot", str(tmp_path)]) == 0
    page = (tmp_path / "summary.md").read_text()
    for line in (
        "| device | NVIDIA H100 |",
        "Timed between events and not as a CUDA graph, rows: embed_ops 28.",
        "| backward: embed_ops | torch_eager | 28 | 8.00 | 8.00 | 8.00 | 8.00 |",
        "| backward: embed_ops | torch_eager, indices >= 4096 | 16 | 8.00 | 8.00 | 8.00 | 8.00 |",
        "| backward: embed_ops | fastest other | 28 | 3.00 | 3.00 | 3.00 | 3.00 |",
        "| backward (float16): embed_ops | float32 | 28 | 2.50 | 2.50 |",
        "| backward (float16): embed_ops | float32, where its roofline is above 40 us | 28 | 2.50 "
        "| 2.50 |",
        "| backward (deterministic): embed_ops | not deterministic | 28 | 0.62 | 0.62 |",
        "## Goals of backward: embed_ops",
        "| against inductor, indices >= 4096, mean | >= 3 | 3.00 | 16 | yes |  |",
        "| against torch_eager, indices >= 4096, mean | >= 7 | 8.00 | 16 | yes |  |",
        "## Goals of backward (float16): embed_ops",
        "    python -m bench run backward model\n    python -m bench run all --resume\n"
        f"    python -m bench plot {tmp_path.name}\n",
    ):
        assert line + "\n" in page, line
    listed = capsys.readouterr().out.split()
    pictures = {path.name for path in tmp_path.glob("*.svg")}
    assert {f"{tmp_path / name}" for name in (*pictures, "summary.md")} == set(listed)
    assert pictures == {
        "backward_device_peers.svg",
        "backward_device_vs_fastest_other.svg",
        "backward_device_vs_torch_eager.svg",
        "cuembed_forward_device_peers.svg",
        "cuembed_forward_device_vs_fastest_other.svg",
        "cuembed_forward_device_vs_torch_eager.svg",
        "cuembed_forward_rate.svg",
        "model.svg",
        "summary.svg",
    }
    assert all(f"]({name})" in page for name in pictures)
    assert "reading HBM, 3.00 TB/s" in (tmp_path / "cuembed_forward_rate.svg").read_text()


def test_the_same_rows_give_the_same_files(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    times = {"torch_eager": constant(80.0), "embed_ops": constant(10.0)}
    write(tmp_path, "backward", times, BACKWARD)
    write(tmp_path, "odd_widths", {"embed_ops": constant(10.0)})
    contents = []
    for _ in range(2):
        assert main(["plot", str(tmp_path)]) == 0
        contents.append({path.name: path.read_bytes() for path in tmp_path.iterdir()})
    assert contents[0] == contents[1]
    assert "odd_widths.svg" in contents[0]
