"""What an index that names no row does, and how late errors of CUDA kernels come to light."""

from __future__ import annotations

from types import TracebackType

import torch

from . import _library

_MODES = ("raise", "assert", "ignore")


class bounds_check:
    """Sets what the ops do about indices outside the table and offsets that make no bags.

    Takes effect when called, for the whole process; used in a ``with`` statement it lasts to the
    statement's end::

        embed_ops.bounds_check("ignore")

        with embed_ops.bounds_check("ignore"):
            output = bag(indices_padded_with_minus_one)

    * ``"raise"`` (the default): IndexError that names op, value, position and table size. The CPU
      raises at once. A CUDA kernel reads the row as zeros, records the first offence without
      synchronising, and the next call of an op of this library or :func:`check_errors` raises it.
    * ``"assert"``: as torch does: IndexError at once on the CPU, a device-side assertion on CUDA,
      after which the process can use CUDA no more.
    * ``"ignore"``: such rows read as zeros, have no gradient and do not count in a mean; nothing is
      recorded. For data padded with -1, for example. Offsets are clamped.

    The setting is read when an op runs, not when it is traced. Call it outside of compiled
    functions, and before a CUDA graph that shall use it is captured.

    Args:
        mode: ``"raise"``, ``"assert"`` or ``"ignore"``.

    Raises:
        ValueError: another mode.
    """

    def __init__(self, mode: str) -> None:
        if mode not in _MODES:
            raise ValueError(
                "embed_ops.bounds_check: mode: expected 'raise', 'assert' or 'ignore', "
                f"got {mode!r}"
            )
        self.mode = mode
        self._previous = _library.get_bounds_check()
        _library.set_bounds_check(_MODES.index(mode))

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        _library.set_bounds_check(self._previous)

    def __repr__(self) -> str:
        return f"bounds_check({self.mode!r})"


def check_errors() -> None:
    """Waits for the CUDA work in flight and raises the offence it recorded, if any.

    Raises:
        IndexError: an index or an offset was out of range (see :class:`bounds_check`); raised once,
            then forgotten.
    """
    if torch.cuda.is_initialized():
        for device in range(torch.cuda.device_count()):
            # Synchronising a device that was never used would create a context on it.
            if torch._C._cuda_hasPrimaryContext(device):  # type: ignore[attr-defined]
                torch.cuda.synchronize(device)
    text = _library.take_cuda_error()
    if text is not None:
        raise IndexError(text)
