"""The command line end to end: every suite on the CPU, resuming, comparing, drawing, and errors."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from bench import caches, commands
from bench.cli import main
from bench.measure import Measurer
from bench.peers import FunctionPeer, UnsupportedError, all_peers
from bench.peers.compilers import Eager
from bench.peers.torch_functions import TorchEager
from bench.records import Writer, columns, read
from bench.suites import SUITES

FAST = ["--device", "cpu", "--quick", "--budget-ms", "0"]
CELL = ["--filter", "rows=100", "--filter", "width=8", "--filter", "distribution=uniform"]


@pytest.fixture(autouse=True)
def small_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caches, "CPU_BYTES", 1 << 12)
    caches._buffer.cache_clear()


def run_backward(out: Path, *more: str) -> int:
    arguments = ["run", "backward", *FAST, *CELL, "--out", str(out), "--peers", "torch_eager"]
    return main([*arguments, *more])


@pytest.mark.parametrize("suite", SUITES)
def test_every_suite_runs(suite: str, tmp_path: Path) -> None:
    peers = "torch_eager,embed_ops,embed_ops_list"
    assert main(["run", suite, *FAST, "--peers", peers, "--out", str(tmp_path)]) == 0
    assert not (tmp_path / f"{suite}.errors.csv").exists()
    rows = read(tmp_path / f"{suite}.csv")
    cells = list(SUITES[suite].cells(quick=True))
    assert {row["peer"] for row in rows} >= {"torch_eager", "embed_ops"}
    assert len([row for row in rows if row["peer"] == "torch_eager"]) == len(cells)
    for row in rows:
        assert float(row["device_us"]) > 0
        assert float(row["wall_us"]) > 0
        assert float(row["error_share"]) <= 1
        assert row["commit"]
        assert float(row["copy_tbps"]) > 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("suite", "filters"),
    [
        ("backward", ["rows=10,100", "width=8", "distribution=uniform", "indices=32,100,4096"]),
        ("fast_multi_embedding", ["tables=10xs", "batch=64,100", "mix=uniform,half_pow_k"]),
    ],
)
def test_compiled_peers_compile_once(
    suite: str,
    filters: list[str],
    tmp_path: Path,
    fresh_compiler: None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    peers = "inductor,embed_ops_compiled"
    chosen = [part for text in filters for part in ("--filter", text)]
    arguments = [*FAST, *chosen, "--peers", peers, "--out", str(tmp_path)]
    assert main(["run", suite, *arguments]) == 0
    rows = read(tmp_path / f"{suite}.csv")
    printed = capsys.readouterr().out
    for peer in peers.split(","):
        counts = [int(row["compilations"]) for row in rows if row["peer"] == peer]
        assert len(counts) > 3
        assert counts == [1] + [0] * (len(counts) - 1)
        assert f"  {peer}: 1 compilation, " in printed


@pytest.mark.slow
def test_a_model_is_compiled_once_for_both_parts_and_from_nothing(
    tmp_path: Path,
    fresh_compiler: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    peers = "inductor,embed_ops_backend"
    folder = tmp_path / "compiled"
    folder.mkdir()
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(folder))
    cells = ["--filter", "model=gpt_embedding", "--filter", "part=forward_backward,step"]
    assert main(["run", "model", *FAST, *cells, "--peers", peers, "--out", str(tmp_path)]) == 0
    rows = read(tmp_path / "model.csv")
    printed = capsys.readouterr().out
    for peer in peers.split(","):
        assert [row["compilations"] for row in rows if row["peer"] == peer] == ["1", "0"]
        assert f"  {peer}: 1 compilation, " in printed
    assert not list(folder.iterdir())  # Nothing came from where compiled code is kept.
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(folder)
    assert "TRITON_CACHE_DIR" not in os.environ or "bench_" not in os.environ["TRITON_CACHE_DIR"]


def test_resume_measures_only_what_is_missing(tmp_path: Path) -> None:
    assert run_backward(tmp_path, "--filter", "indices=32") == 0
    path = tmp_path / "backward.csv"
    (first,) = read(path)
    with path.open("a") as file:
        file.write("backward,torch_eager,cpu,flo")  # Interrupted while writing.
    assert run_backward(tmp_path, "--filter", "indices=32,64", "--resume") == 0
    rows = read(path)
    assert [row["indices"] for row in rows] == ["32", "64"]
    assert rows[0] == first


def test_a_run_shows_its_times_and_means(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ["--filter", "indices=32", "--peers", "torch_eager,embed_ops", "--dtype", "float16"]
    assert run_backward(tmp_path, *more) == 0
    printed = capsys.readouterr().out
    eager, ours = read(tmp_path / "backward.csv")
    assert "  width=8 rows=100 indices=32 distribution=uniform float16\n" in printed
    for row in (eager, ours):
        times = f"{row['device_us']} us [{row['device_p20_us']}, {row['device_p80_us']}]"
        roofline = f"wall {row['wall_us']} us, roofline {row['roofline_us']} us"
        assert f"    {row['peer']:22} {times}, {roofline}\n" in printed
    device, wall = (float(eager[m]) / float(ours[m]) for m in ("device_us", "wall_us"))
    assert (
        f"  embed_ops (float16) against torch_eager: {device:.2f} x as fast on the device, "
        f"{wall:.2f} x in wall time (1 cells)\n"
    ) in printed
    sizes = ",".join(str(n) for n in range(32, 45))
    assert run_backward(tmp_path, *more, "--filter", f"indices={sizes}") == 0
    printed = capsys.readouterr().out
    assert "indices=44" not in printed
    assert "26 new rows" in printed  # What is asked for twice is measured once.
    assert "(13 cells)" in printed


def test_without_resume_the_earlier_run_is_kept_aside(tmp_path: Path) -> None:
    for _ in range(2):
        assert run_backward(tmp_path, "--filter", "indices=32") == 0
    assert len(read(tmp_path / "backward.csv")) == 1
    assert len(read(tmp_path / "backward.previous.csv")) == 1


def test_resume_refuses_a_file_with_other_columns(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Writer(tmp_path / "backward.csv", columns(["height"]))
    assert run_backward(tmp_path, "--resume") == 2
    assert "has other columns than this version writes" in capsys.readouterr().err


def test_several_suites_go_into_one_folder_and_are_resumed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["run", "backward", "forward", *FAST, "--peers", "torch_eager"]
    arguments += ["--filter", "width=8", "--filter", "indices=32", "--out", str(tmp_path)]
    assert main([*arguments, "--time-limit", "0"]) == 0
    assert not (tmp_path / "forward.csv").exists()
    capsys.readouterr()
    assert main([*arguments, "--resume"]) == 0
    counts = [len(read(tmp_path / f"{suite}.csv")) for suite in ("backward", "forward")]
    assert counts == [4, 1]
    printed = capsys.readouterr().out
    assert printed.count("an empty kernel reads") == 1  # One process, one set of ceilings.
    assert printed.count("  a row takes ") == 2
    assert main([*arguments, "--resume"]) == 0
    assert "forward.csv: 0 new rows" in capsys.readouterr().out


def test_the_commands_are_remembered_without_folders_of_this_machine(tmp_path: Path) -> None:
    library = f"--cuembed-lib={tmp_path}/libcuembed.so"
    for more in (["--filter", "indices=32"], ["--filter", "indices=64", library, "--resume"]) * 2:
        assert run_backward(tmp_path / "out", *more) == 0
    first, second = commands.of(tmp_path / "out")
    assert first.startswith("python -m bench run backward --device cpu --quick")
    assert first.endswith("--out out --peers torch_eager --filter indices=32")
    assert second.endswith("indices=64 --cuembed-lib=libcuembed.so --resume")
    assert str(tmp_path) not in first + second


def test_with_and_without_determinism_in_one_run(tmp_path: Path) -> None:
    for deterministic, expected in (("both", ["no", "yes"]), ("no", ["no"]), ("yes", ["yes"])):
        out = tmp_path / deterministic
        more = ["--deterministic", deterministic, "--filter", "indices=32"]
        assert run_backward(out, *more) == 0
        assert [row["deterministic"] for row in read(out / "backward.csv")] == expected
    assert not torch.are_deterministic_algorithms_enabled()


class Deterministic(TorchEager):
    """Right only under deterministic algorithms."""

    def embedding_backward(
        self, grad: torch.Tensor, indices: torch.Tensor, like: torch.Tensor
    ) -> torch.Tensor:
        gradient = super().embedding_backward(grad, indices, like)
        return gradient if torch.are_deterministic_algorithms_enabled() else gradient + 1


def test_determinism_is_what_the_peer_sees(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    peer = FunctionPeer("somebody", Deterministic(), Eager())
    monkeypatch.setattr("bench.cli.all_peers", lambda *_: {"somebody": peer})
    more = ["--peers", "somebody", "--deterministic", "both", "--filter", "indices=32"]
    assert run_backward(tmp_path, *more) == 0
    assert [row["deterministic"] for row in read(tmp_path / "backward.csv")] == ["yes"]
    assert (tmp_path / "backward.errors.csv").exists()


def test_a_time_limit_stops_cleanly(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_backward(tmp_path, "--time-limit", "0") == 0
    assert read(tmp_path / "backward.csv") == []
    assert "out of time; --resume continues" in capsys.readouterr().out


def test_an_interruption_keeps_the_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    measure = Measurer.measure
    calls = []

    def interrupted(*arguments: Any) -> Any:
        calls.append(arguments)
        if len(calls) > 1:
            raise KeyboardInterrupt
        return measure(*arguments)

    monkeypatch.setattr(Measurer, "measure", interrupted)
    assert run_backward(tmp_path, "--filter", "indices=32,64") == 130
    assert len(read(tmp_path / "backward.csv")) == 1
    assert "--resume continues" in capsys.readouterr().err


class Wrong(TorchEager):
    """Loses the first addition."""

    def embedding_backward(
        self, grad: torch.Tensor, indices: torch.Tensor, like: torch.Tensor
    ) -> torch.Tensor:
        gradient = super().embedding_backward(grad, indices, like)
        gradient[indices[0]] -= grad[0]
        return gradient


class Unsupported(TorchEager):
    def embedding_backward(
        self, grad: torch.Tensor, indices: torch.Tensor, like: torch.Tensor
    ) -> torch.Tensor:
        raise UnsupportedError("not today")


@pytest.mark.parametrize(("name", "status"), [("embed_ops", 1), ("somebody", 0)])
def test_a_wrong_result_is_an_error_and_no_row(
    name: str,
    status: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    peer = FunctionPeer(name, Wrong(), Eager())
    monkeypatch.setattr("bench.cli.all_peers", lambda *_: {**all_peers(), name: peer})
    assert run_backward(tmp_path, "--peers", name, "--filter", "indices=32") == status
    assert read(tmp_path / "backward.csv") == []
    with (tmp_path / "backward.errors.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert row["peer"] == name
    assert row["error"].startswith("WrongResultError: grad_weight: ")
    assert "indices=32" in row["cell"]
    assert "error: " + name in capsys.readouterr().out


def test_what_a_peer_does_not_do_is_a_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    peer = FunctionPeer("somebody", Unsupported(), Eager())
    monkeypatch.setattr("bench.cli.all_peers", lambda *_: {"somebody": peer})
    assert run_backward(tmp_path, "--peers", "somebody", "--filter", "indices=32,64") == 0
    assert read(tmp_path / "backward.csv") == []
    assert "note (2 x): somebody: not today" in capsys.readouterr().out


def test_cells_that_do_not_fit_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("bench.environment.memory_free_bytes", lambda device: 10)
    assert run_backward(tmp_path, "--filter", "indices=32") == 0
    assert "cells left out: not enough memory" in capsys.readouterr().out


@pytest.mark.parametrize("dtype", ["float64", "float16", "bfloat16"])
def test_other_dtypes(dtype: str, tmp_path: Path) -> None:
    more = ["--dtype", dtype, "--index-dtype", "int32", "--deterministic", "--filter", "indices=64"]
    assert run_backward(tmp_path, *more, "--peers", "torch_eager,embed_ops") == 0
    rows = read(tmp_path / "backward.csv")
    assert [row["dtype"] for row in rows] == [dtype] * 2
    assert {row["index_dtype"] for row in rows} == {"int32"}
    assert {row["deterministic"] for row in rows} == {"yes"}
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "nothing"], "unknown suite 'nothing'; there are: fast_embedding, "),
        (["run", "backward", "--peers", "nobody"], "unknown peer 'nobody'; there are: torch_eager"),
        (["run", "backward", "--device", "tpu"], "unknown device 'tpu'; there are: cuda, cpu"),
        (["run", "backward", "--dtype", "int8"], "unknown dtype 'int8'; there are: float32, "),
        (["run", "backward", "--index-dtype", "int8"], "unknown index dtype 'int8'; there are: "),
        (["run", "backward", "--filter", "width"], "--filter 'width': expected AXIS=VALUE"),
        (
            ["run", "backward", "--filter", "depth=3"],
            "suite 'backward' has no axis 'depth'; it has",
        ),
        (["run", "backward", "--filter", "width=-3"], "axis 'width' takes positive numbers, not"),
        (["run", "backward", "--filter", "width=wide"], "axis 'width' takes positive numbers, not"),
        (
            ["run", "backward", "--filter", "distribution=odd"],
            "axis 'distribution' has no value 'odd'; it has: uniform, ",
        ),
        (
            ["run", "backward", "--device", "cpu", "--peers", "cuembed", "--quick"],
            "none of the peers of backward can run here",
        ),
        (["plot", "nowhere"], "nowhere: no benchmark rows there"),
        (["compare", "nowhere", "nowhere"], "nowhere: no benchmark rows there"),
    ],
)
def test_mistakes_are_named(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    assert message in capsys.readouterr().err


def test_cuda_is_refused_where_there_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    assert main(["run", "backward", "--device", "cuda"]) == 2
    assert "torch finds no CUDA device here" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["0", "0.0"])
def test_a_filter_takes_numbers_as_rows_show_them(text: str) -> None:
    cells = list(SUITES["cuembed_sweep"].cells(False, {"alpha": [text], "batch": ["1024"]}))
    assert {(cell["alpha"], cell["batch"]) for cell in cells} == {(0.0, 1024)}


def test_list_names_suites_axes_and_peers(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    printed = capsys.readouterr().out
    for suite in SUITES:
        assert f"  {suite}: " in printed
    assert "fast_embedding: FastEmbedding's grid: lookup forward + backward (1728 cells)" in printed
    assert "  torch_eager: available" in printed
    assert "  embed_ops_backend: available" in printed
    assert "  cuembed: " in printed


@pytest.mark.gpu
@pytest.mark.parametrize("suite", SUITES)
def test_every_suite_runs_on_the_gpu(suite: str, tmp_path: Path) -> None:
    sure = ["torch_eager", "embed_ops"]
    if suite == "model":
        sure += ["embed_ops_backend", "embed_ops_backend_cudagraphs"]
    peers = ",".join([*sure, "inductor"])
    arguments = ["run", suite, "--quick", "--peers", peers, "--out", str(tmp_path)]
    assert main([*arguments, "--device", "cuda"]) == 0
    rows = read(tmp_path / f"{suite}.csv")
    assert {row["peer"] for row in rows} >= set(sure)
    assert all(float(row["peak_mb"]) >= 0 for row in rows)
