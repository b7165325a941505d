"""Devices, seeds and settings for every test.

``device`` runs a test on the CPU and, marked ``gpu``, on CUDA; ``pytest -m gpu`` selects the
latter, ``pytest -m "not gpu"`` leaves them out, and without a GPU they are skipped.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

import embed_ops

try:
    import hypothesis
except ModuleNotFoundError:
    pass  # test_fuzz.py is skipped.
else:
    # Bounded and the same every time; --hypothesis-profile=deep searches.
    hypothesis.settings.register_profile(
        "ci",
        max_examples=60,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    hypothesis.settings.register_profile(
        "deep",
        max_examples=5000,
        deadline=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    hypothesis.settings.load_profile("ci")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "gpu: needs a CUDA device")
    # The samples are small: more threads would only get in the way of parallel test runs. Tests of
    # threading set their own number.
    torch.set_num_threads(1)


def pytest_report_header() -> str:
    has_gpu = torch.cuda.is_available()
    return "CUDA: " + (torch.cuda.get_device_name() if has_gpu else "none; its tests are left out")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out what needs a GPU where there is none: to skip all of it takes two cores 40 s."""
    if torch.cuda.is_available():
        return
    without = [item for item in items if item.get_closest_marker("gpu")]
    items[:] = [item for item in items if not item.get_closest_marker("gpu")]
    config.hook.pytest_deselected(items=without)


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def no_error_left_behind(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fails a test that leaves a CUDA error or a recorded offence to the next one."""
    yield
    if request.node.get_closest_marker("gpu") and torch.cuda.is_available():
        torch.cuda.synchronize()
        embed_ops.check_errors()


@pytest.fixture
def fresh_compiler() -> Iterator[None]:
    """No compiled code, and no memory of recompilations, from or for other tests."""
    torch.compiler.reset()
    yield
    torch.compiler.reset()
