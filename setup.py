"""Builds the two shared libraries of embed_ops; the metadata is in pyproject.toml.

    embed_ops/lib/libembed_ops_cpu.so     csrc/schema.cpp and csrc/cpu/*.cpp
    embed_ops/lib/libembed_ops_cuda.so    csrc/cuda/*.cu, where nvcc is found

Both use the LibTorch stable ABI only, at feature level 2.10, and no Python C API, so the libraries
run under every torch >= 2.10 and every Python, whichever they were built with. A CPU-only torch is
enough to build the CUDA library: it is linked with libtorch_cpu and resolves the few CUDA symbols
of torch when it is loaded.

A build.ninja is written and run rather than torch.utils.cpp_extension.BuildExtension, which refuses
CUDA under a CPU-only torch, adds a run path and links libraries of the machine it builds on.

Environment:
    EMBED_OPS_CUDA         auto (default): build the CUDA library where nvcc is found; 0: never;
                           1: fail without nvcc
    TORCH_CUDA_ARCH_LIST   e.g. "8.0;9.0a+PTX"; default: sm_80, sm_90, sm_100 and PTX of the last
    EMBED_OPS_CXXFLAGS, EMBED_OPS_NVCCFLAGS    appended, e.g. -lineinfo
    CXX, CUDA_HOME, MAX_JOBS                   as usual
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from shlex import quote as shell_quote

from setuptools import Extension, find_packages, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError

ROOT = Path(__file__).parent.resolve()
# Not setuptools' build_temp: editable installs get a fresh one each time, and nothing would be
# incremental.
NINJA_DIR = ROOT / "build" / "ninja"
CPU_LIBRARY = "embed_ops.lib.libembed_ops_cpu"
CUDA_LIBRARY = "embed_ops.lib.libembed_ops_cuda"
TORCH_TARGET_VERSION = "0x020a000000000000"
DEFAULT_ARCHS = ["8.0", "9.0", "10.0+PTX"]


def quote(path: Path) -> str:
    """A path for a command line inside build.ninja."""
    return shell_quote(str(path)).replace("$", "$$")


def find_nvcc() -> Path | None:
    """The nvcc to build with; None for a CPU-only build."""
    choice = os.environ.get("EMBED_OPS_CUDA", "auto")
    if choice == "0":
        return None
    homes = [os.environ[name] for name in ("CUDA_HOME", "CUDA_PATH") if os.environ.get(name)]
    on_path = shutil.which("nvcc")
    candidates = [Path(home, "bin", "nvcc") for home in homes]
    candidates += [Path(on_path)] if on_path else []
    candidates += [Path("/usr/local/cuda/bin/nvcc")]
    found = next((path for path in candidates if path.is_file()), None)
    if found is None and choice == "1":
        sys.exit("EMBED_OPS_CUDA=1 but no nvcc in CUDA_HOME, on PATH or in /usr/local/cuda")
    return found


def torch_dir() -> Path:
    """The folder of the installed torch, found without the seconds that importing it takes."""
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        sys.exit("building embed_ops needs torch >= 2.10 (a CPU-only build will do)")
    path = Path(spec.origin).parent
    if not (path / "include/torch/csrc/stable/library.h").is_file():
        sys.exit(f"building embed_ops needs torch >= 2.10, and {path} is older")
    return path


def gencode_flags(nvcc: Path) -> list[str]:
    """One -gencode per architecture of TORCH_CUDA_ARCH_LIST, or of the default list."""
    requested = re.split(r"[;\s]+", os.environ.get("TORCH_CUDA_ARCH_LIST", "").strip(" ;"))
    if requested != [""]:
        archs = requested
    else:
        listed = subprocess.run([nvcc, "--list-gpu-arch"], check=True, capture_output=True)
        known = listed.stdout.decode().split()
        archs = [a for a in DEFAULT_ARCHS if f"compute_{a.split('+')[0].replace('.', '')}" in known]
        archs[-1:] = [a if a.endswith("+PTX") else f"{a}+PTX" for a in archs[-1:]]
    flags = []
    for arch in archs:
        match = re.fullmatch(r"(\d+)\.(\d[af]?)(\+PTX)?", arch)
        if match is None:
            sys.exit(
                f"TORCH_CUDA_ARCH_LIST: expected items such as 9.0, 9.0a or 8.0+PTX, got {arch}"
            )
        number = match[1] + match[2]
        code = f"sm_{number}" if match[3] is None else f"[sm_{number},compute_{number}]"
        flags.append(f"-gencode=arch=compute_{number},code={code}")
    return flags


def ninja_file(extensions: list[Extension], nvcc: Path | None) -> str:
    """The text of build.ninja, whose paths are relative to NINJA_DIR."""
    torch = torch_dir()
    root = os.path.relpath(ROOT, NINJA_DIR)
    common = (
        f"-std=c++17 -O3 -DTORCH_TARGET_VERSION={TORCH_TARGET_VERSION} "
        f"-I{root}/csrc -isystem {quote(torch / 'include')}"
    )
    # Undefined symbols fail at link time (a Python symbol among them), and no run path points into
    # the machine that builds: import torch has loaded libtorch_cpu by its soname before us.
    # --no-as-needed: the libraries are opened with RTLD_LOCAL and find torch's symbols only through
    # a DT_NEEDED entry of their own.
    link = f"-L{quote(torch / 'lib')} -Wl,--no-undefined -Wl,--no-as-needed -ltorch_cpu"
    lines = [
        "ninja_required_version = 1.5",
        f"cxx = {os.environ.get('CXX', 'c++')}",
        f"cxxflags = {common} -fPIC -fvisibility=hidden -Wall -Wextra "
        f"{os.environ.get('EMBED_OPS_CXXFLAGS', '')}",
        "rule cxx",
        "  command = $cxx -MD -MF $out.d $cxxflags -c $in -o $out",
        "  depfile = $out.d",
        "  deps = gcc",
        "rule link_cpu",
        f"  command = $cxx -shared $in -o $out {link}",
    ]
    if nvcc is not None:
        ccbin = f"-ccbin {os.environ['CXX']}" if os.environ.get("CXX") else ""
        lines += [
            f"nvcc = {quote(nvcc)} {ccbin}",
            f"gencode = {' '.join(gencode_flags(nvcc))}",
            f"nvccflags = {common} -DUSE_CUDA "
            "--expt-relaxed-constexpr -Xcompiler -fPIC,-fvisibility=hidden,-Wall "
            f"{os.environ.get('EMBED_OPS_NVCCFLAGS', '')}",
            "rule nvcc",
            "  command = $nvcc --generate-dependencies-with-compile --dependency-output $out.d "
            "$nvccflags $gencode -c $in -o $out",
            "  depfile = $out.d",
            "  deps = gcc",
            "rule link_cuda",
            # --exclude-libs keeps the static runtime's symbols to ourselves: left visible, they
            # would bind to the libcudart that torch has loaded, of whatever version that is.
            "  command = $nvcc -shared -cudart static $gencode -Xlinker --exclude-libs,ALL "
            f"$in -o $out {link.replace('-Wl,', '-Xlinker ')}",
        ]
    for extension in extensions:
        cuda = extension.name == CUDA_LIBRARY
        objects = []
        for source in extension.sources:
            objects.append(f"{Path(source).relative_to('csrc')}.o")
            lines.append(f"build {objects[-1]}: {'nvcc' if cuda else 'cxx'} {root}/{source}")
        library = f"{extension.name.rpartition('.')[2]}.so"
        lines.append(f"build {library}: link_{'cuda' if cuda else 'cpu'} {' '.join(objects)}")
    return "\n".join(lines) + "\n"


class BuildLibraries(build_ext):
    """Runs ninja where setuptools would run its own compiler."""

    def get_ext_filename(self, fullname: str) -> str:
        # No Python version in the name: nothing in these files depends on one.
        return fullname.replace(".", os.sep) + ".so"

    def get_export_symbols(self, ext: Extension) -> list[str]:
        return []  # there is no PyInit_ function to export

    def run(self) -> None:
        # A CUDA library of an earlier build must not outlive a build without one.
        if CUDA_LIBRARY not in [extension.name for extension in self.extensions]:
            stale = self.get_ext_filename(CUDA_LIBRARY)
            for folder in [self.build_lib, *([ROOT] if self.inplace else [])]:
                Path(folder, stale).unlink(missing_ok=True)
        if self.inplace:
            (ROOT / "embed_ops" / "lib").mkdir(exist_ok=True)
        super().run()

    def build_extensions(self) -> None:
        NINJA_DIR.mkdir(parents=True, exist_ok=True)
        nvcc = find_nvcc()
        if nvcc is None and os.environ.get("EMBED_OPS_CUDA") != "0":
            print("embed_ops: no nvcc found, building the CPU library only", file=sys.stderr)
        (NINJA_DIR / "build.ninja").write_text(ninja_file(self.extensions, nvcc))
        jobs = os.environ.get("MAX_JOBS")
        command = [sys.executable, "-m", "ninja", *([f"-j{jobs}"] if jobs else [])]
        if subprocess.run(command, cwd=NINJA_DIR).returncode != 0:
            raise CompileError("ninja failed, see above")
        for extension in self.extensions:
            target = Path(self.get_ext_fullpath(extension.name))
            target.parent.mkdir(parents=True, exist_ok=True)
            target.unlink(missing_ok=True)  # a process may have the old file mapped
            shutil.copy2(NINJA_DIR / target.name, target)


class Wheel(bdist_wheel):
    """One wheel for every Python: py3-none is wider than abi3, since no Python C API is used."""

    def get_tag(self) -> tuple[str, str, str]:
        return "py3", "none", super().get_tag()[2]


def sources(*patterns: str) -> list[str]:
    return sorted(str(p.relative_to(ROOT)) for pattern in patterns for p in ROOT.glob(pattern))


def main() -> None:
    extensions = [Extension(CPU_LIBRARY, sources("csrc/schema.cpp", "csrc/cpu/*.cpp"))]
    if find_nvcc() is not None:
        extensions.append(Extension(CUDA_LIBRARY, sources("csrc/cuda/*.cu")))
    setup(
        packages=[*find_packages(include=["embed_ops", "embed_ops.*"]), "embed_ops.meta"],
        package_dir={"embed_ops.meta": "meta"},
        package_data={"embed_ops": ["py.typed"]},
        ext_modules=extensions,
        cmdclass={"build_ext": BuildLibraries, "bdist_wheel": Wheel},
        zip_safe=False,
    )


if __name__ == "__main__":
    main()
