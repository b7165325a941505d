"""The two shared libraries: where they are, how they are opened, what they export beside the ops.

``libembed_ops_cpu.so`` defines every op and holds the CPU kernels; it is always opened.
``libembed_ops_cuda.so`` holds the CUDA kernels and is opened only under a torch that has CUDA.
Where it is absent or cannot be opened, :func:`load` registers kernels that say so for the CUDA key.
"""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any, NoReturn

import torch

LIBRARY_DIR = Path(__file__).parent / "lib"
CPU_LIBRARY = LIBRARY_DIR / "libembed_ops_cpu.so"
CUDA_LIBRARY = LIBRARY_DIR / "libembed_ops_cuda.so"

# Longer than any text the library writes: an op's name, an argument's name, a few integers.
_ERROR_TEXT_CAPACITY = 1024

_cpu: ctypes.CDLL | None = None
_cuda: ctypes.CDLL | None = None
_refusals: torch.library.Library | None = None


def load() -> None:
    """Opens the libraries, which registers the ops with torch; ``import embed_ops`` calls it once.

    Raises:
        ImportError: the CPU library is missing or this torch cannot open it.
    """
    global _cpu, _cuda
    if not CPU_LIBRARY.is_file():
        raise ImportError(
            f"embed_ops: {CPU_LIBRARY} does not exist; build it with "
            "`pip install -e . --no-build-isolation` in the checkout, or install a wheel"
        )
    try:
        _cpu = _open(CPU_LIBRARY)
    except OSError as error:
        raise ImportError(
            f"embed_ops: cannot open {CPU_LIBRARY} under torch {torch.__version__} "
            f"(torch >= 2.10 is needed): {error}"
        ) from error
    if torch.version.cuda is None:
        return
    if not CUDA_LIBRARY.is_file():
        refuse_cuda(f"{CUDA_LIBRARY.name} was not built; rebuild embed_ops where nvcc is found")
        return
    try:
        _cuda = _open(CUDA_LIBRARY)
    except OSError as error:
        refuse_cuda(f"{CUDA_LIBRARY.name} cannot be opened: {error}")


def refuse_cuda(reason: str) -> None:
    """Registers, for every op and CUDA tensors, a kernel that raises NotImplementedError.

    Without it the dispatcher would list the backends it knows, and nobody would learn that a
    library is missing.
    """
    global _refusals
    _refusals = torch.library.Library("embed_ops", "IMPL")
    for name in op_names():
        _refusals.impl(name, _refusal(name, reason), "CUDA")


def set_bounds_check(mode: int) -> None:
    """Sets how both libraries treat bad indices and offsets: 0 raise, 1 assert, 2 ignore."""
    for library in (_cpu, _cuda):
        if library is not None:
            library.embed_ops_set_bounds_check(mode)


def get_bounds_check() -> int:
    """The present setting of :func:`set_bounds_check`."""
    assert _cpu is not None
    return int(_cpu.embed_ops_get_bounds_check())


def take_cuda_error() -> str | None:
    """The text of the offence that CUDA kernels have recorded, if any, which is then forgotten.

    Does not synchronise: work still in flight may record one later.
    """
    if _cuda is None:
        return None
    text = ctypes.create_string_buffer(_ERROR_TEXT_CAPACITY)
    if not _cuda.embed_ops_take_error(text, _ERROR_TEXT_CAPACITY):
        return None
    return text.value.decode()


def op_names() -> list[str]:
    """Every op with a CPU kernel, which is every op."""
    registered = torch._C._dispatch_get_registrations_for_dispatch_key("CPU")
    return sorted(
        name.removeprefix("embed_ops::") for name in registered if name.startswith("embed_ops::")
    )


def _open(path: Path) -> ctypes.CDLL:
    torch.ops.load_library(str(path))
    library = ctypes.CDLL(str(path))
    library.embed_ops_set_bounds_check.argtypes = [ctypes.c_int]
    library.embed_ops_set_bounds_check.restype = None
    library.embed_ops_get_bounds_check.argtypes = []
    library.embed_ops_get_bounds_check.restype = ctypes.c_int
    if path == CUDA_LIBRARY:
        library.embed_ops_take_error.argtypes = [ctypes.c_char_p, ctypes.c_int64]
        library.embed_ops_take_error.restype = ctypes.c_int
    return library


def _refusal(name: str, reason: str) -> Any:
    def refuse(*args: Any, **kwargs: Any) -> NoReturn:
        raise NotImplementedError(
            f"embed_ops::{name}: device: expected cpu tensors, got cuda: this installation of "
            f"embed_ops has no CUDA kernels ({reason})"
        )

    return refuse
