"""Many tables at once: FastMultiEmbedding's lookup, and pooled lookups of many tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Generator, Tensor

from ..checks import WrongResultError, require_close
from .bag import BagForward
from .base import (
    Problem,
    Result,
    ScatterReference,
    ScatterReferences,
    column_sums,
    nbytes,
    random_gradient,
    unique_rows,
)


class MultiForward(Problem):
    """``output`` (B, sum of widths) from indices (B, n): column t looked up in table t."""

    kind: ClassVar[str] = "multi_forward"

    def __init__(self, tables: Sequence[Tensor], indices: Tensor) -> None:
        self.tables = list(tables)
        self.indices = indices
        for column, table in zip(indices.unbind(1), tables, strict=True):
            row_bytes = table.shape[1] * table.element_size()
            self.rows_bytes += column.numel() * row_bytes
            self.bytes_read += unique_rows(column, table.shape[0]) * row_bytes
        self.bytes_read += nbytes(indices)
        self.bytes_written = self.rows_bytes

    @property
    def sizes(self) -> list[int]:
        """Rows of each table."""
        return [table.shape[0] for table in self.tables]

    @property
    def widths(self) -> list[int]:
        """Width of each table."""
        return [table.shape[1] for table in self.tables]

    def check(self, result: Result) -> float:
        columns = zip(self.tables, self.indices.unbind(1), strict=True)
        if not torch.equal(result["output"], torch.cat([t[i] for t, i in columns], 1)):
            raise WrongResultError("output: not the rows that were looked up")
        return 0.0


class MultiStep(MultiForward):
    """Forward + backward: lookup, Linear(sum of widths, 1), weighted sum, all gradients.

    The results are ``loss``, ``grad_head`` (1, sum of widths) and ``grad_0`` ... one per table.
    """

    kind: ClassVar[str] = "multi_step"

    def __init__(self, tables: Sequence[Tensor], indices: Tensor, generator: Generator) -> None:
        super().__init__(tables, indices)
        batch, width, dtype = indices.shape[0], sum(self.widths), tables[0].dtype
        self.head = head = random_gradient((1, width), dtype, generator)
        self.sample_weights = random_gradient((batch,), dtype, generator)
        self.bytes_written = nbytes(*tables, head)
        self.bytes_read += nbytes(head, self.sample_weights)
        weights = self.sample_weights.double()
        sums, scales, references = [], [], []
        columns = zip(self.tables, indices.unbind(1), head.split(self.widths, 1), strict=True)
        for table, column, part in columns:
            total, magnitudes = column_sums(table[column], weights)
            sums.append(total)
            scales.append(magnitudes)
            upstream = self.sample_weights[:, None] * part
            references.append(ScatterReference(upstream, column, table.shape[0]))
        self._references = ScatterReferences(references)
        self._grad_head = torch.cat(sums)[None]
        self._head_scale = torch.cat(scales)[None]
        self._loss = (self._grad_head * head.double()).sum()
        self._loss_scale = (self._head_scale * head.double().abs()).sum()

    def check(self, result: Result) -> float:
        names = [f"gradient of table {t}" for t in range(len(self.tables))]
        tables = [result[f"grad_{t}"] for t in range(len(self.tables))]
        return max(
            self._references.check(names, tables),
            require_close("grad_head", result["grad_head"], self._grad_head, self._head_scale),
            require_close("loss", result["loss"], self._loss, self._loss_scale),
        )


class PooledTables(Problem):
    """``output`` (B, sum of widths): one bag per table and sample, summed.

    ``indices`` (N,) and ``offsets`` (n * B + 1,) are table-major: bag t * B + b is sample b's in
    table t.
    """

    kind: ClassVar[str] = "pooled_tables"

    def __init__(self, tables: Sequence[Tensor], indices: Tensor, offsets: Tensor) -> None:
        self.tables = list(tables)
        self.indices = indices
        self.offsets = offsets
        self.batch = (offsets.numel() - 1) // len(tables)
        self.per_table = [self._table(t) for t in range(len(tables))]
        self.bytes_read = sum(p.bytes_read for p in self.per_table)
        self.bytes_written = sum(p.bytes_written for p in self.per_table)
        self.rows_bytes = sum(p.rows_bytes for p in self.per_table)

    def _table(self, table: int) -> BagForward:
        ends = self.offsets[table * self.batch : (table + 1) * self.batch + 1]
        indices = self.indices[int(ends[0]) : int(ends[-1])]
        return BagForward(self.tables[table], indices, ends - ends[0])

    @property
    def sizes(self) -> list[int]:
        """Rows of each table."""
        return [table.shape[0] for table in self.tables]

    @property
    def widths(self) -> list[int]:
        """Width of each table."""
        return [table.shape[1] for table in self.tables]

    def check(self, result: Result) -> float:
        parts = result["output"].split(self.widths, dim=1)
        checks = zip(self.per_table, parts, strict=True)
        return max(problem.check({"output": part}) for problem, part in checks)
