"""FBGEMM's table-batched embeddings, where ``fbgemm_gpu`` imports. Pooled forward only: their
backward updates the tables instead of returning a gradient."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..problems import BagForward, PooledTables
from .base import Functions, UnsupportedError

PACKAGE = "fbgemm_gpu.split_table_batched_embeddings_ops"
PRECISIONS = {torch.float32: "FP32", torch.float16: "FP16"}


class Fbgemm(Functions):
    """SplitTableBatchedEmbeddingBagsCodegen."""

    def absent(self, device: torch.device) -> str | None:
        if importlib.util.find_spec("fbgemm_gpu") is None:
            return "fbgemm_gpu is not installed"
        try:
            importlib.import_module(f"{PACKAGE}_training")
        except (ImportError, OSError, RuntimeError, AttributeError) as error:
            return f"fbgemm_gpu does not import: {error}"
        return None

    def bag(self, problem: BagForward) -> tuple[Callable[..., Tensor], tuple[Any, ...]]:
        if problem.mode != "sum":
            raise UnsupportedError("only sums are set up")
        module = _module([problem.weight])
        indices = problem.indices.reshape(-1).long()
        weights = problem.per_sample_weights
        flat = None if weights is None else weights.reshape(-1)
        return module, (indices, problem.ends(), flat)

    def pooled_tables(self, problem: PooledTables) -> tuple[Callable[..., Tensor], tuple[Any, ...]]:
        return _module(problem.tables), (problem.indices.long(), problem.offsets.long())


def _module(tables: list[Tensor]) -> Callable[..., Tensor]:
    """A module that holds copies of the tables."""
    common = importlib.import_module(f"{PACKAGE}_common")
    training = importlib.import_module(f"{PACKAGE}_training")
    config = importlib.import_module("fbgemm_gpu.split_embedding_configs")
    dtype = tables[0].dtype
    if dtype not in PRECISIONS:
        raise UnsupportedError(f"FBGEMM has no {dtype} tables")
    on_gpu = tables[0].is_cuda
    location = common.EmbeddingLocation.DEVICE if on_gpu else common.EmbeddingLocation.HOST
    compute = training.ComputeDevice.CUDA if on_gpu else training.ComputeDevice.CPU
    precision = getattr(config.SparseType, PRECISIONS[dtype])
    if any(table.shape[1] % 4 for table in tables):
        raise UnsupportedError("FBGEMM takes widths that are multiples of 4")
    module = training.SplitTableBatchedEmbeddingBagsCodegen(
        [(table.shape[0], table.shape[1], location, compute) for table in tables],
        weights_precision=precision,
        output_dtype=precision,
        pooling_mode=common.PoolingMode.SUM,
        device=tables[0].device,
    )
    for held, table in zip(module.split_embedding_weights(), tables, strict=True):
        held.copy_(table)
    return module
