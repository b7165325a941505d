"""The libraries and the wheel: they depend on nothing that would tie them to this machine."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from filelock import FileLock  # which torch brings

import embed_ops
from embed_ops._library import CPU_LIBRARY, CUDA_LIBRARY

ROOT = Path(__file__).parents[1]
FOLDERS = {"bench", "csrc", "embed_ops", "examples", "meta", "requirements", "tests"}

needs_checkout = pytest.mark.skipif(
    not (ROOT / "setup.py").is_file(), reason="needs the checkout that embed_ops was built from"
)
LIBRARIES = [
    CPU_LIBRARY,
    pytest.param(
        CUDA_LIBRARY,
        marks=pytest.mark.skipif(not CUDA_LIBRARY.is_file(), reason="built without nvcc"),
    ),
]


def run(*command: Any, **options: Any) -> str:
    done = subprocess.run(command, capture_output=True, text=True, **options)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def setup_module_of_checkout() -> ModuleType:
    spec = importlib.util.spec_from_file_location("embed_ops_setup", ROOT / "setup.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("library", LIBRARIES, ids=lambda path: path.name)
def test_library_needs_only_torch_cpu_and_the_system(library: Path) -> None:
    dynamic = run("readelf", "--dynamic", "--wide", library)
    needed = set(re.findall(r"\(NEEDED\).*\[(.*)\]", dynamic))
    system = {"libstdc++.so.6", "libm.so.6", "libgcc_s.so.1", "libc.so.6", "ld-linux-x86-64.so.2"}
    assert "libtorch_cpu.so" in needed
    assert needed <= {"libtorch_cpu.so", *system}
    assert "RPATH" not in dynamic
    assert "RUNPATH" not in dynamic


@pytest.mark.parametrize("library", LIBRARIES, ids=lambda path: path.name)
def test_library_uses_the_stable_abi_only(library: Path) -> None:
    undefined = run("nm", "--dynamic", "--undefined-only", library)
    names = [line.split()[-1] for line in undefined.splitlines()]
    assert any(name.startswith("aoti_torch_") for name in names)
    # Python, ATen, c10, the CUDA runtime and driver: none of them is stable or there to link with.
    unstable = re.compile(r"_?Py|_ZNK?(2at|3c10|5torch)|cuda[A-Z_]|__cuda|cu[A-Z]")
    assert [name for name in names if unstable.match(name)] == []


@pytest.mark.parametrize("library", LIBRARIES, ids=lambda path: path.name)
def test_library_exports_its_entry_points_only(library: Path) -> None:
    exported = run("nm", "--dynamic", "--defined-only", "--demangle", library)
    names = [line.split(maxsplit=2)[2] for line in exported.splitlines()]
    # Weak template instances of the standard library and of torch's headers are shared by design.
    ours = [name for name in names if "embed_ops" in name]
    assert "embed_ops_set_bounds_check" in ours
    assert [name for name in ours if not re.fullmatch(r"embed_ops_\w+", name)] == []
    assert [name for name in names if re.match(r"cuda[A-Z]|PyInit", name)] == []


@needs_checkout
@pytest.mark.parametrize(
    ("listed", "flags"),
    [
        ("9.0", ["arch=compute_90,code=sm_90"]),
        ("9.0a", ["arch=compute_90a,code=sm_90a"]),
        ("8.0+PTX", ["arch=compute_80,code=[sm_80,compute_80]"]),
        ("8.0;8.6", ["arch=compute_80,code=sm_80", "arch=compute_86,code=sm_86"]),
        (
            "8.0 12.0+PTX;",
            ["arch=compute_80,code=sm_80", "arch=compute_120,code=[sm_120,compute_120]"],
        ),
    ],
)
def test_architectures_named(
    setup_module_of_checkout: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    listed: str,
    flags: list[str],
) -> None:
    monkeypatch.setenv("TORCH_CUDA_ARCH_LIST", listed)
    found = setup_module_of_checkout.gencode_flags(Path("nvcc"))
    assert found == [f"-gencode={flag}" for flag in flags]


@needs_checkout
@pytest.mark.parametrize("listed", ["Hopper", "90", "sm_90", "9.0+ptx", "9.0,8.0"])
def test_architectures_misspelt(
    setup_module_of_checkout: ModuleType, monkeypatch: pytest.MonkeyPatch, listed: str
) -> None:
    monkeypatch.setenv("TORCH_CUDA_ARCH_LIST", listed)
    with pytest.raises(SystemExit, match=r"TORCH_CUDA_ARCH_LIST: expected items such as 9\.0"):
        setup_module_of_checkout.gencode_flags(Path("nvcc"))


@needs_checkout
@pytest.mark.parametrize(
    ("known", "flags"),
    [
        (
            "compute_80 compute_90 compute_100 compute_120",
            [
                "arch=compute_80,code=sm_80",
                "arch=compute_90,code=sm_90",
                "arch=compute_100,code=[sm_100,compute_100]",
            ],
        ),
        # An nvcc from before Blackwell: PTX of the last that it knows serves what came after.
        (
            "compute_80 compute_90",
            ["arch=compute_80,code=sm_80", "arch=compute_90,code=[sm_90,compute_90]"],
        ),
    ],
)
def test_architectures_by_default(
    setup_module_of_checkout: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    known: str,
    flags: list[str],
) -> None:
    monkeypatch.delenv("TORCH_CUDA_ARCH_LIST", raising=False)
    nvcc = tmp_path / "nvcc"
    nvcc.write_text(f'#!/bin/sh\n[ "$1" = --list-gpu-arch ] && printf "%s\\n" {known}\n')
    nvcc.chmod(0o755)
    found = setup_module_of_checkout.gencode_flags(nvcc)
    assert found == [f"-gencode={flag}" for flag in flags]


@needs_checkout
def test_nvcc_is_not_looked_for_when_switched_off(
    setup_module_of_checkout: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "nvcc").touch()
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    monkeypatch.setenv("EMBED_OPS_CUDA", "auto")
    assert setup_module_of_checkout.find_nvcc() == tmp_path / "bin" / "nvcc"
    monkeypatch.setenv("EMBED_OPS_CUDA", "0")
    assert setup_module_of_checkout.find_nvcc() is None


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from the checkout, whose objects are reused; as the library in use for CUDA or not.

    Once for all processes that share the tests."""
    pytest.importorskip("setuptools")
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "wheel"
    environment = {**os.environ}
    if not CUDA_LIBRARY.is_file():
        environment["EMBED_OPS_CUDA"] = "0"
    pip = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation"]
    with FileLock(f"{folder}.lock"):
        if not list(folder.glob("*.whl")):
            run(*pip, "--wheel-dir", folder, ROOT, env=environment)
    (built,) = folder.glob("*.whl")
    return built


@needs_checkout
def test_wheel(wheel: Path) -> None:
    assert wheel.name == f"embed_ops-{embed_ops.__version__}-py3-none-linux_x86_64.whl"
    with zipfile.ZipFile(wheel) as archive:
        files = {name for name in archive.namelist() if ".dist-info/" not in name}
        (metadata,) = (name for name in archive.namelist() if name.endswith("/METADATA"))
        text = archive.read(metadata).decode()
    assert {name.split("/")[0] for name in files} == {"embed_ops"}
    assert {Path(name).suffix for name in files} <= {".py", ".typed", ".so"}
    sources = {f"embed_ops/meta/{path.name}" for path in (ROOT / "meta").glob("*.py")}
    sources |= {str(path.relative_to(ROOT)) for path in (ROOT / "embed_ops").rglob("*.py")}
    assert sources <= files
    assert "embed_ops/py.typed" in files
    assert "embed_ops/lib/libembed_ops_cpu.so" in files
    assert ("embed_ops/lib/libembed_ops_cuda.so" in files) == CUDA_LIBRARY.is_file()
    assert "Requires-Dist: torch>=2.10\n" in text
    assert "Requires-Python: >=3.10\n" in text
    assert "License-Expression: BSD-3-Clause\n" in text


@needs_checkout
def test_wheel_works_where_it_is_installed(wheel: Path, tmp_path: Path) -> None:
    pip = [sys.executable, "-m", "pip", "install", "--no-deps", "--quiet"]
    run(*pip, "--target", tmp_path / "site", wheel)
    program = (
        "import embed_ops, embed_ops.meta, torch\n"
        "print(embed_ops.__file__, embed_ops.meta.__file__)\n"
        "table = embed_ops.FastEmbedding(5, 3)\n"
        "assert torch.equal(table(torch.tensor([4, 0])), table.weight[[4, 0]])\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    printed = run(sys.executable, "-c", program, cwd=tmp_path, env=environment)
    assert all(Path(path).is_relative_to(tmp_path / "site") for path in printed.split())


@needs_checkout
def test_source_distribution_builds_anywhere(tmp_path: Path) -> None:
    pytest.importorskip("build")
    checkout = tmp_path / "checkout"
    leave = shutil.ignore_patterns("lib", "__pycache__")
    for path in ROOT.iterdir():
        if path.name in FOLDERS:
            shutil.copytree(path, checkout / path.name, ignore=leave)
        elif path.is_file():
            checkout.mkdir(exist_ok=True)
            shutil.copy(path, checkout)
    command = [
        sys.executable,
        "-m",
        "build",
        "--sdist",
        "--no-isolation",
        "--skip-dependency-check",
    ]
    run(*command, checkout)
    (archive,) = (checkout / "dist").iterdir()
    shutil.unpack_archive(archive, tmp_path / "unpacked")
    (unpacked,) = (tmp_path / "unpacked").iterdir()
    for folder in FOLDERS:
        listed = {path.relative_to(checkout) for path in (checkout / folder).rglob("*.*")}
        assert listed == {path.relative_to(unpacked) for path in (unpacked / folder).rglob("*.*")}


def test_import_adds_little_to_that_of_torch() -> None:
    program = (
        "import time, torch\n"
        "begin = time.perf_counter()\n"
        "import embed_ops\n"
        "print(time.perf_counter() - begin)\n"
    )
    # The best of three: other processes can only make it slower.
    assert min(float(run(sys.executable, "-c", program)) for _ in range(3)) < 0.3


@needs_checkout
def test_examples_of_the_readme() -> None:
    examples = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert len(examples) == 7
    for example in examples:
        run(sys.executable, "-c", example)
