"""Who is measured. A peer is a set of functions (whose lookups) under a compiler (or none).

A new peer is a subclass of ``base.Functions`` in a file of its own, and an entry in
:func:`all_peers`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from .base import Call, FunctionPeer, Peer, UnsupportedError
from .compilers import Eager, Inductor
from .cuembed import CuEmbed
from .fbgemm import Fbgemm
from .ours import EmbedOps, EmbedOpsList, TorchUnderBackend
from .torch_functions import TorchEager, TorchIndexAdd, TorchUnderInductor

__all__ = [
    "Call",
    "FunctionPeer",
    "Peer",
    "UnknownPeerError",
    "UnsupportedError",
    "all_peers",
    "choose",
]


class UnknownPeerError(Exception):
    """A name that no peer has."""


def all_peers(cuembed_library: str | None = None, static_shapes: bool = False) -> dict[str, Peer]:
    """Every peer by name, whether or not this machine can run it.

    Args:
        cuembed_library: the path of a library with cuEmbed's ops (see bench/README.md).
        static_shapes: compile anew for every shape instead of with dynamic shapes.
    """

    def inductor(cuda_graphs: bool = False, backend: str = "inductor") -> Inductor:
        return Inductor(cuda_graphs, static_shapes, backend)

    peers = [
        FunctionPeer("torch_eager", TorchEager(), Eager()),
        FunctionPeer("torch_index_add", TorchIndexAdd(), Eager()),
        FunctionPeer("inductor", TorchUnderInductor(), inductor()),
        FunctionPeer("inductor_cudagraphs", TorchUnderInductor(), inductor(cuda_graphs=True)),
        FunctionPeer("cuembed", CuEmbed(cuembed_library), Eager()),
        FunctionPeer("fbgemm", Fbgemm(), Eager()),
        FunctionPeer("embed_ops", EmbedOps(), Eager()),
        FunctionPeer("embed_ops_list", EmbedOpsList(), Eager()),
        FunctionPeer("embed_ops_compiled", EmbedOps(), inductor()),
        FunctionPeer("embed_ops_cudagraphs", EmbedOps(), inductor(cuda_graphs=True)),
        FunctionPeer("embed_ops_backend", TorchUnderBackend(), inductor(backend="embed_ops")),
        FunctionPeer(
            "embed_ops_backend_cudagraphs",
            TorchUnderBackend(),
            inductor(cuda_graphs=True, backend="embed_ops"),
        ),
    ]
    return {peer.name: peer for peer in peers}


def choose(
    peers: dict[str, Peer], names: Sequence[str], device: torch.device
) -> tuple[list[Peer], dict[str, str]]:
    """The named peers that this machine can run, and why each other one is absent.

    Raises:
        UnknownPeerError: a name that no peer has.
    """
    unknown = [name for name in names if name not in peers]
    if unknown:
        known = ", ".join(peers)
        raise UnknownPeerError(f"unknown peer {unknown[0]!r}; there are: {known}")
    reasons = {name: peers[name].absent(device) for name in names}
    present = [peers[name] for name, reason in reasons.items() if reason is None]
    return present, {name: reason for name, reason in reasons.items() if reason is not None}
