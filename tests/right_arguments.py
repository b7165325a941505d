"""For each op arguments that are right, for tests of errors to spoil one of them.

10 rows of 4; 6 lookups in 3 bags; tables of 5 x 4 and 3 x 2.
"""

from __future__ import annotations

import torch
from calls import Arguments
from samples import (
    BACKWARD,
    COMPRESSED,
    Draw,
    Recipe,
    Sample,
    as_list,
    coordinates,
    csr,
    derive,
    fixed,
    lookup,
    offsets_alone,
    row_ids_alone,
    tables,
)


def of(op: str, forward: str, recipe: Recipe) -> Recipe:
    gradient = (BACKWARD | COMPRESSED)[op]
    derived = derive(op, gradient, Sample(forward, "right", recipe))
    assert derived is not None
    return derived.recipe


LOOKUP = lookup(10, 4, 6)
BAGS = csr(10, 4, (2, 3, 1), True)
FIXED = fixed(10, 4, 3, 2, True)
MAX = csr(10, 4, (2, 3, 1), mode="max")
TABLES = tables((5, 3), (4, 2), 3)
PADDED = tables((5, 3), (4, 2), 3, padded=True)
POOLED = tables((5, 3), (4, 2), 2, (1, 2, 0, 3), weighted=True)
LIST, LIST_POOLED = as_list(TABLES), as_list(POOLED)
RENORM = lookup(10, 4, 6, max_norm=1.0)

EMBEDDING_BACKWARD = of("embedding_dense_backward", "embedding", LOOKUP)
BAG_BACKWARD = of("embedding_bag_dense_backward", "embedding_bag", BAGS)
MAX_BACKWARD = of("embedding_bag_dense_backward", "embedding_bag", MAX)
BAG_WEIGHTS = of("embedding_bag_per_sample_weights_backward", "embedding_bag", BAGS)
TABLES_BACKWARD = of("multi_embedding_dense_backward", "multi_embedding", TABLES)
POOLED_BACKWARD = of("multi_embedding_dense_backward", "multi_embedding", POOLED)
POOLED_WEIGHTS = of("multi_embedding_per_sample_weights_backward", "multi_embedding", POOLED)
LIST_BACKWARD = of("multi_embedding_list_dense_backward", "multi_embedding_list", LIST)
LIST_POOLED_BACKWARD = of(
    "multi_embedding_list_dense_backward", "multi_embedding_list", LIST_POOLED
)
LIST_POOLED_WEIGHTS = of(
    "multi_embedding_list_per_sample_weights_backward", "multi_embedding_list", LIST_POOLED
)

# Of the dense gradient ops: those that take the same arguments and give compressed gradients.
COMPRESSED_OF = {
    f"{op}_dense_backward": [f"{op}_compressed_backward", f"{op}_compressed_backward_padded"]
    for op in ("embedding", "embedding_bag", "multi_embedding")
}
COORDINATES = coordinates(10, (2, 3, 1), True)
SORTED: Recipe = lambda d: {"indices": d.offsets((1, 2, 3, 1, 2), last=True)}  # noqa: E731

# For each op one call with as many of its arguments as go together.
RIGHT: dict[str, Recipe] = {
    "embedding": LOOKUP,
    "embedding_dense_backward": EMBEDDING_BACKWARD,
    "embedding_renorm_": RENORM,
    "embedding_bag": BAGS,
    "embedding_bag_dense_backward": BAG_BACKWARD,
    "embedding_bag_per_sample_weights_backward": BAG_WEIGHTS,
    "multi_embedding": POOLED,
    "multi_embedding_dense_backward": POOLED_BACKWARD,
    "multi_embedding_per_sample_weights_backward": POOLED_WEIGHTS,
    "multi_embedding_list": LIST_POOLED,
    "multi_embedding_list_dense_backward": LIST_POOLED_BACKWARD,
    "multi_embedding_list_per_sample_weights_backward": LIST_POOLED_WEIGHTS,
    **{
        compressed: of(compressed, forward, recipe)
        for forward, recipe in (
            ("embedding", LOOKUP),
            ("embedding_bag", BAGS),
            ("multi_embedding", POOLED),
        )
        for compressed in COMPRESSED_OF[f"{forward}_dense_backward"]
    },
    "row_ids_from_fixed": lambda d: {"indices": d.indices(10, 3, 2)},
    "row_ids_from_csr": offsets_alone((2, 3, 1)),
    "offsets_from_row_ids": row_ids_alone((2, 3, 1)),
    "transpose": COORDINATES,
    "compressed_indices": SORTED,
    "compressed_indices_padded": SORTED,
}


def right(op: str, device: str, **index_dtypes: torch.dtype) -> Arguments:
    return RIGHT[op](Draw(op, device, torch.float32, **index_dtypes))


# Ops whose indices name rows of a table of which they know the size.
NAMING_ROWS = [
    op
    for op in RIGHT
    if "indices" in right(op, "cpu")
    and op not in ("row_ids_from_fixed", "compressed_indices", "compressed_indices_padded")
]
