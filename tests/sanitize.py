"""Calls for compute-sanitizer: every op, and every way of the dense gradient and of pooling.

    compute-sanitizer --tool memcheck --error-exitcode 1 python tests/sanitize.py
    compute-sanitizer --tool racecheck --error-exitcode 1 python tests/sanitize.py

So few that this takes a minute; that results are right is for the tests to see.
"""

from __future__ import annotations

import torch
from calls import call
from samples import SAMPLES

import embed_ops

ops = torch.ops.embed_ops
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"  # where there is nothing to see

# (lookups, width, rows) of plain lookups, by what plan_scatter and the plans of tiles make of them.
GRADIENTS = [
    (500, 8, 100),  # one by one
    (4096, 32, 1000),  # tiles of 32 lookups, staged
    (30_000, 24, 700),  # of 64
    (60_001, 20, 3000),  # of 128
    (5000, 160, 300),  # in slices
    (60_001, 33, 500),  # not aligned
    (140_000, 48, 2000),  # many
    (3000, 8, 2**19),  # ordered by one block, where sums are ordered
    (9000, 8, 600_000),  # ordered
]


def call_every_op() -> int:
    count = 0
    for op, samples in SAMPLES.items():
        chosen = [samples[0], *(sample for sample in samples if sample.large)]
        for number, sample in enumerate(chosen[:3]):
            dtype = torch.bfloat16 if number == 1 else torch.float32
            call(op, sample.arguments(DEVICE, dtype))
            count += 1
    return count


def call_every_way() -> int:
    count = 0
    for lookups, width, rows in GRADIENTS:
        indices = torch.randint(rows, (lookups,), device=DEVICE)
        for dtype in (torch.float32, torch.bfloat16):
            grad_output = torch.randn(lookups, width, device=DEVICE, dtype=dtype)
            for deterministic in (False, True):
                ops.embedding_dense_backward(
                    grad_output, indices, rows, deterministic=deterministic
                )
                count += 1
    return count


def call_every_pool() -> int:
    """Few bags and many, of one table and of several, short and long."""
    count = 0
    tables = [torch.randn(500, width, device=DEVICE) for width in (128, 8, 64, 36)]
    for batch, hotness in ((40, 90), (3000, 1), (3000, 20), (33_000, 33)):
        indices = torch.randint(500, (batch, hotness), device=DEVICE)
        for table in tables:
            ops.embedding_bag(table, indices, mode="sum")
            ops.embedding_bag(table.half(), indices, mode="mean")
            count += 2
        if batch <= 3000:
            offsets = torch.arange(len(tables) * batch + 1, device=DEVICE) * hotness
            many = indices.flatten().repeat(len(tables))
            ops.multi_embedding_list(tables, many, offsets, "sum")
            weights = torch.rand(len(many), device=DEVICE)
            ops.multi_embedding_list(tables, many, offsets, "mean", weights)
            count += 2
    return count


def main() -> None:
    torch.manual_seed(0)
    count = call_every_op() + call_every_way() + call_every_pool()
    embed_ops.check_errors()
    print(f"{count} calls")


if __name__ == "__main__":
    main()
