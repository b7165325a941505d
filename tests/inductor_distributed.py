"""What test_inductor_distributed.py runs in processes of their own.

python inductor_distributed.py NAME STORE RANK WORLD_SIZE
"""

from __future__ import annotations

import sys
from typing import Any

import torch
import torch.distributed as dist
from inductor_graphs import Rewriting
from inductor_language import Language, train
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Replicate, distribute_tensor
from torch.nn.parallel import DistributedDataParallel

from embed_ops.inductor import explain


def ddp(rank: int) -> None:
    """Buckets of 1 MB split the graph; gradients are the ranks' average."""
    model = Language(vocabulary=20_000)
    wrapped = DistributedDataParallel(model, bucket_cap_mb=1)
    expected = train(model, wrapped, seed=rank)
    graphs = []

    def counting(graph_module: Any, inputs: Any) -> Any:
        graphs.append(graph_module)
        return Rewriting()(graph_module, inputs)

    actual = train(model, torch.compile(wrapped, backend=counting), seed=rank)
    torch.testing.assert_close(actual, expected)
    assert len(graphs) > 1, "the graph was not split"
    print("gradients are equal")


def fsdp(rank: int) -> None:
    model = Language()
    expected = train(model, model)
    mesh = dist.init_device_mesh("cpu", (dist.get_world_size(),))
    fully_shard(model.layer, mesh=mesh)
    fully_shard(model, mesh=mesh)
    actual = train(model, torch.compile(model, backend=Rewriting()))
    torch.testing.assert_close({name: whole(tensor) for name, tensor in actual.items()}, expected)
    print("gradients are equal")


def dtensor(rank: int) -> None:
    """A table that is a DTensor is left to torch."""
    mesh = dist.init_device_mesh("cpu", (dist.get_world_size(),))
    weight = nn.Parameter(distribute_tensor(torch.randn(6, 4), mesh, [Replicate()]))
    x = distribute_tensor(torch.tensor([1, 2]), mesh, [Replicate()])
    explain(lambda weight, x: nn.functional.embedding(x, weight), weight, x)


def whole(tensor: Tensor) -> Tensor:
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


if __name__ == "__main__":
    name, path, rank, world_size = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    torch.set_num_threads(1)
    torch.manual_seed(0)
    store = dist.FileStore(path, world_size)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=world_size)
    {"ddp": ddp, "fsdp": fsdp, "dtensor": dtensor}[name](rank)
    dist.destroy_process_group()
