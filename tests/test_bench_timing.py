"""The clock, the ceilings, and where a row says that it was measured."""

from __future__ import annotations

import time

import pytest
import torch

from bench import ceilings, environment, timing


@pytest.fixture(autouse=True)
def small_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "CPU_FLUSH_BYTES", 1 << 12)
    timing._flush_buffer.cache_clear()


def test_percentiles_are_interpolated() -> None:
    assert timing.percentiles([float(n) for n in range(11)]) == (2.0, 5.0, 8.0)
    assert timing.percentiles([4.0]) == (4.0, 4.0, 4.0)


@pytest.mark.parametrize("clock", [timing.device_time, timing.wall_time])
def test_it_measures_what_passes(clock: type[timing.device_time]) -> None:
    measured = clock(lambda: time.sleep(0.002), device="cpu", budget_s=0.0)
    assert 2000 <= measured.p20 <= measured.p50 <= measured.p80
    assert measured.repetitions == 5
    assert measured.method == "host"
    assert "us (5 x host)" in str(measured)


def test_the_budget_decides_how_often() -> None:
    calls = []
    measured = timing.device_time(
        lambda: calls.append(1), device="cpu", budget_s=10.0, max_repetitions=20
    )
    assert measured.repetitions == 20
    assert len(calls) == 21  # One to warm up.


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


def test_without_a_repository_the_commit_comes_from_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(environment, "_output", lambda *command: None)
    monkeypatch.setenv("BENCH_COMMIT", "abc")
    monkeypatch.setenv("BENCH_DIRTY", "no")
    environment._commit.cache_clear()
    described = environment.describe(torch.device("cpu"))
    environment._commit.cache_clear()
    assert (described["commit"], described["dirty"]) == ("abc", "no")


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
    assert timing.capture(lambda: source.sum().item()) is None
    measured = timing.device_time(lambda: source.sum().item())
    assert measured.method == "events"
    assert torch.rand(4, device="cuda").sum() > 0  # The generator is not left in a capture.


@pytest.mark.gpu
def test_a_launch_bound_callable_is_timed_without_the_host() -> None:
    x = torch.ones(8, device="cuda")

    def launch_slowly() -> None:
        time.sleep(0.0005)
        x.add_(1)

    measured = timing.device_time(launch_slowly, graph=False)
    assert measured.method == "events"
    assert measured.p50 < 100
