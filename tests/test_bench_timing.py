"""The clock, the ceilings, and where a row says that it was measured."""

from __future__ import annotations

import itertools
import subprocess
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
import torch

from bench import caches, ceilings, environment, graphs, stopwatch, timing


@pytest.fixture(autouse=True)
def small_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caches, "CPU_BYTES", 1 << 12)
    caches._buffer.cache_clear()


def test_percentiles_are_interpolated() -> None:
    assert timing.percentiles([float(n) for n in range(11)]) == (2.0, 5.0, 8.0)
    assert timing.percentiles([4.0]) == (4.0, 4.0, 4.0)


@pytest.mark.parametrize("clock", [timing.device_time, timing.wall_time])
def test_it_measures_what_passes(clock: type[timing.device_time]) -> None:
    measured = clock(lambda: time.sleep(0.002), device="cpu", budget_s=0.0)
    assert 2000 <= measured.p20 <= measured.p50 <= measured.p80
    assert measured.repetitions == timing.LEAST
    assert measured.method == "host"
    assert f"us ({timing.LEAST} x host)" in str(measured)


class Batches:
    """Gives times out in batches and remembers how large those were."""

    def __init__(self, times: Iterable[float], pause_s: float = 0.0) -> None:
        self.times = iter(times)
        self.pause_s = pause_s
        self.sizes: list[int] = []

    def __call__(self, count: int) -> list[float]:
        self.sizes.append(count)
        time.sleep(self.pause_s * count)
        return [next(self.times) for _ in range(count)]


def test_what_repeats_well_is_soon_done() -> None:
    batches = Batches(itertools.cycle([100.0, 100.5]))
    assert len(timing.repeat(batches, 10.0, least=7, most=100)) == 7
    assert batches.sizes == [7]


def test_what_scatters_is_repeated_until_the_median_is_certain() -> None:
    scattered = Batches(itertools.cycle([100.0, 104.0, 108.0]))
    times = timing.repeat(scattered, 10.0, least=7, most=100)
    assert scattered.sizes == [7, 7, 14, 28]
    assert timing.median_error(times) <= timing.CERTAIN < timing.median_error(times[:28])


def test_what_never_settles_ends_at_the_most() -> None:
    wild = Batches(itertools.cycle([100.0, 300.0]))
    assert len(timing.repeat(wild, 10.0, least=7, most=100)) == 100
    assert wild.sizes == [7, 7, 14, 28, 44]


def test_the_budget_ends_what_scatters() -> None:
    wild = Batches(itertools.cycle([100.0, 300.0]), pause_s=0.002)
    times = timing.repeat(wild, 0.045, least=7, most=100)
    assert 7 < len(times) < 30
    assert len(timing.repeat(wild, 0.0, least=7, most=100)) == 7


def test_what_was_disturbed_is_measured_once_more() -> None:
    calm, disturbed, worse = [10.0, 10.1] * 5, [200.0, 300.0] * 5, [200.0, 900.0] * 5
    for measured, kept in (
        ([calm, disturbed], calm),
        ([disturbed, calm], calm),
        ([disturbed, worse, calm], disturbed),
        ([disturbed, [400.0] * 10], disturbed),
    ):
        assert timing.undisturbed(iter(measured).__next__) == kept


def test_what_was_launched_late_does_not_count() -> None:
    def batches(*late: set[int]) -> Callable[[int], list[timing.Repetition]]:
        each = iter(late)

        def batch(count: int) -> list[timing.Repetition]:
            missed = next(each)
            return [timing.Repetition(float(n), n not in missed) for n in range(count)]

        return batch

    assert timing.times_in_time(batches(set()), 3) == [0.0, 1.0, 2.0]
    assert timing.times_in_time(batches({1, 2}, {0}, set()), 4) == [0.0, 3.0, 1.0, 0.0]
    some = batches({0, 1}, *[{0, 1, 2}] * (timing.ATTEMPTS - 1))
    assert timing.times_in_time(some, 3) == [2.0]
    never = batches(*[{0, 1, 2}] * timing.ATTEMPTS)
    assert timing.times_in_time(never, 3) == [0.0, 1.0, 2.0]


def test_the_error_of_a_median_is_that_of_drawn_medians() -> None:
    drawn = 100.0 + torch.randn(2000, 50, dtype=torch.float64)
    found = float(drawn.median(dim=1).values.std()) / 100.0
    estimates = [timing.median_error(sample.tolist()) for sample in drawn[:200]]
    assert sum(estimates) / len(estimates) == pytest.approx(found, rel=0.1)
    assert timing.median_error([5.0] * 7) == 0.0


def test_phases_inside_of_others_count_once() -> None:
    watch = stopwatch.Stopwatch()
    with watch.phase("outer"):
        time.sleep(0.02)
        with watch.phase("inner"):
            time.sleep(0.05)
        with pytest.raises(ZeroDivisionError), watch.phase("inner"):
            raise ZeroDivisionError
    assert 0.02 <= watch.seconds["outer"] < 0.04
    assert 0.05 <= watch.seconds["inner"] < 0.07
    assert watch.per_row(10).startswith("7.")
    assert "(inner 5." in watch.per_row(10)


def test_roofline_pairs_reads_with_writes() -> None:
    limits = ceilings.Ceilings(copy=2e9, fill=4e9, read=1e9, floor_us=1.0)
    assert limits.roofline_us(1000, 1000) == pytest.approx(1.0)
    assert limits.roofline_us(3000, 1000) == pytest.approx(1.0 + 2.0)
    assert limits.roofline_us(0, 4000) == pytest.approx(1.0)
    assert limits.roofline_us(0, 0) == 0.0


def test_ceilings_are_measured() -> None:
    limits = ceilings.measure(torch.device("cpu"), quick=True)
    assert min(limits.copy, limits.fill, limits.read) > 1e6
    assert limits.floor_us > 0


def test_rows_say_where_they_come_from() -> None:
    described = environment.describe(torch.device("cpu"))
    assert described["device"] == "cpu"
    assert described["torch"] == torch.__version__
    assert described["dirty"] in ("yes", "no", "unknown")
    assert all(described[name] for name in ("gpu", "python", "commit"))


@pytest.mark.parametrize(
    ("given", "dirty"),
    [("no", "no"), ("yes", "yes"), ("false", "no"), ("1", "yes"), ("perhaps", "unknown")],
)
@pytest.mark.parametrize("repository", ["none", "its own", "one around it"])
def test_the_variables_say_the_commit_of_a_copy(
    given: str, dirty: str, repository: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    if repository != "none":
        inside = copy if repository == "its own" else tmp_path
        subprocess.run(["git", "init", "-q", str(inside)], check=True)
    monkeypatch.setattr(environment, "ROOT", copy)
    monkeypatch.setenv("BENCH_COMMIT", "abc")
    monkeypatch.setenv("BENCH_DIRTY", given)
    environment._commit.cache_clear()
    described = environment.describe(torch.device("cpu"))
    environment._commit.cache_clear()
    assert (described["commit"], described["dirty"]) == ("abc", dirty)


def test_a_repository_says_its_commit_and_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def git(*command: str) -> str:
        who = ["-c", "user.name=bench", "-c", "user.email=bench@example.com"]
        done = subprocess.run(
            ["git", *who, *command], cwd=tmp_path, check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    git("init", "-q")
    for folder in ("csrc", "embed_ops", "meta", "bench/results"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "file").write_text("1")
    (tmp_path / "setup.py").write_text("")
    git("add", ".")
    git("commit", "-q", "-m", "first")
    monkeypatch.setattr(environment, "ROOT", tmp_path.resolve())
    monkeypatch.delenv("BENCH_COMMIT", raising=False)
    for changed, dirty in ((None, "no"), ("bench/results/file", "no"), ("csrc/file", "yes")):
        if changed:
            (tmp_path / changed).write_text("2")
        environment._commit.cache_clear()
        described = environment.describe(torch.device("cpu"))
        assert (described["commit"], described["dirty"]) == (git("rev-parse", "HEAD"), dirty)
    environment._commit.cache_clear()


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("NVIDIA H200", "h200"),
        ("NVIDIA H100 80GB HBM3", "h100"),
        ("NVIDIA A100-SXM4-80GB", "a100"),
        ("NVIDIA GeForce RTX 4090", "rtx-4090"),
    ],
)
def test_folders_are_named_after_the_gpu(
    name: str, slug: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: name)
    assert environment.slug(torch.device("cuda")) == slug
    assert environment.slug(torch.device("cpu")) == "cpu"


@pytest.mark.gpu
def test_a_graph_gives_the_time_of_a_copy() -> None:
    source = torch.ones(1 << 26, device="cuda")
    target = torch.empty_like(source)
    measured = timing.device_time(lambda: target.copy_(source))
    assert measured.method == "graph"
    moved = 2 * source.numel() * 4
    assert 0.2e12 < moved / (measured.p50 * 1e-6) < 20e12


@pytest.mark.gpu
def test_what_waits_for_the_device_is_not_captured() -> None:
    source = torch.ones(1000, device="cuda")
    with pytest.raises(graphs.NotCapturedError, match=r"^[A-Za-z]+: ."):
        graphs.capture(lambda: source.sum().item())
    measured = timing.device_time(lambda: source.sum().item())
    assert measured.method == "events"
    assert torch.rand(4, device="cuda").sum() > 0  # The generator is not left in a capture.
    assert timing.device_time(lambda: source.add_(1)).method == "graph"


@pytest.mark.gpu
def test_graphs_share_their_memory() -> None:
    graphs.release()
    source = torch.ones(1 << 24, device="cuda")
    reserved = []
    for _ in range(6):
        captured = graphs.capture(lambda: source + 1)
        assert float(captured().sum()) == 2 * source.numel()
        del captured
        reserved.append(torch.cuda.memory_reserved())
    assert reserved[-1] == reserved[0]
    graphs.release()
    assert torch.cuda.memory_reserved() < reserved[0]
    assert float(graphs.capture(lambda: source + 2)().sum()) == 3 * source.numel()


@pytest.mark.gpu
def test_memory_kept_for_reuse_makes_room_for_a_graph() -> None:
    graphs.release()
    kept = torch.empty(int(0.6 * torch.cuda.mem_get_info()[0]), dtype=torch.uint8, device="cuda")
    size = kept.numel()
    del kept  # The allocator keeps it, and a capture alone could not have it back.
    captured = graphs.capture(lambda: torch.ones(size, dtype=torch.uint8, device="cuda"), 0)
    assert int(captured()[-1]) == 1
    del captured
    graphs.release()


@pytest.mark.gpu
def test_a_launch_bound_callable_is_timed_without_the_host() -> None:
    x = torch.ones(8, device="cuda")

    def launch_slowly() -> None:
        time.sleep(0.0005)
        x.add_(1)

    measured = timing.device_time(launch_slowly, graph=False)
    assert measured.method == "events"
    assert measured.p50 < 100
