"""Calls recorded as CUDA graphs, whose replays show the device's time without the host's."""

from __future__ import annotations

import contextlib
import functools
import gc
from collections.abc import Callable
from typing import Any

import torch


class NotCapturedError(Exception):
    """A call that cannot be recorded; the text says why."""


class Captured:
    """A call recorded as a CUDA graph. Calling it replays; ``result`` is where the outputs are.

    All graphs share their memory, since at most one is in use at a time: the replay of one may
    overwrite the outputs of another that was captured later.
    """

    def __init__(self, graph: torch.cuda.CUDAGraph, result: Any) -> None:
        self._graph = graph
        self.result = result

    def __call__(self) -> Any:
        self._graph.replay()
        return self.result


def capture(fn: Callable[[], Any], warm_ups: int = 2) -> Captured:
    """``fn`` as a CUDA graph, after some calls on the stream that captures.

    Raises:
        NotCapturedError: it cannot be recorded; it waits for the device, say.
    """
    stream = _stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(warm_ups):
            fn()
        try:
            captured = _record_with_room(fn)
        except RuntimeError as error:
            _clean_up()
            reason = (str(error).strip() or "no message").splitlines()[0]
            raise NotCapturedError(f"{type(error).__name__}: {reason}") from error
    torch.cuda.current_stream().wait_stream(stream)
    return captured


def release() -> None:
    """Gives back the memory that graphs share, and what else the allocator keeps for reuse.

    A graph's memory outlives the graph until the allocator's cache is emptied: graphs that did not
    share theirs would soon fill the device, and fail from then on.
    """
    _keeper.cache_clear()
    torch.cuda.synchronize()
    torch.cuda.empty_cache()


def _record_with_room(fn: Callable[[], Any]) -> Captured:
    """Nothing that the allocator keeps for reuse can be given back during a capture."""
    try:
        return _record(fn)
    except torch.OutOfMemoryError:
        pass  # Afterwards, for until here the exception holds what the attempt had allocated.
    release()
    return _record(fn)


def _record(fn: Callable[[], Any]) -> Captured:
    """The graph object is driven directly: the context manager torch.cuda.graph collects garbage
    and empties the allocator's cache each time, which costs more than a whole row."""
    graph = torch.cuda.CUDAGraph()
    pool = _keeper().pool()
    torch.cuda.current_stream().synchronize()
    with _no_garbage_collection():
        graph.capture_begin(pool=pool, capture_error_mode="thread_local")
        try:
            result = fn()
        finally:
            graph.capture_end()
    return Captured(graph, result)


@functools.cache
def _keeper() -> torch.cuda.CUDAGraph:
    """A graph that is never replayed and keeps the shared memory alive between the others."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.stream(_stream()), _no_garbage_collection():
        graph.capture_begin(capture_error_mode="thread_local")
        torch.zeros(1, device="cuda")
        graph.capture_end()
    return graph


@functools.cache
def _stream() -> torch.cuda.Stream:
    """One for all, as memory is reused on the stream that it was allocated for."""
    return torch.cuda.Stream()


@contextlib.contextmanager
def _no_garbage_collection() -> Any:
    """Freeing device memory would spoil a capture."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def _clean_up() -> None:
    """What torch leaves undone where a capture failed: its allocator still records into the graph's
    memory, and its random number generator is still in the capture (one that succeeds takes it
    out)."""
    torch.cuda.synchronize()
    pool = _keeper().pool()
    with contextlib.suppress(RuntimeError):  # Where only memory ran out, the capture did end.
        torch._C._cuda_endAllocateToPool(torch.cuda.current_device(), pool)
        torch._C._cuda_releasePool(torch.cuda.current_device(), pool)
    release()
    _keeper()
