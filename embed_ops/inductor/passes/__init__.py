"""The rewrites of Dynamo's graph, in the order in which they run.

========================  =========================================================================
own lookups               lists embed_ops' own lookups, which the rewrites below take further
rows                      F.embedding, nn.Embedding -> embedding
select                    index_select, x[index] along the first dimension -> embedding
bags                      F.embedding_bag, nn.EmbeddingBag -> embedding_bag
pooling                   embedding and a sum or mean over its lookups -> embedding_bag
additions                 index_add of embedding along the first dimension -> embedding_bag
tables of bags            several embedding_bag -> multi_embedding_list
single rows               embedding_bag of one lookup for each bag -> embedding
tables of rows            several embedding -> multi_embedding_list
========================  =========================================================================

The first four find lookups, whoever wrote them; pooling and additions take what they found, and
grouping what those left.
"""

from __future__ import annotations

from typing import Any

from .additions import Additions
from .bags import Bags
from .base import Rewrite
from .own import OwnLookups
from .pooling import Pooling
from .rows import Rows
from .select import Select
from .single import SingleRows
from .tables import TablesOfBags, TablesOfRows

REWRITES: tuple[Rewrite[Any], ...] = (
    OwnLookups(),
    Rows(),
    Select(),
    Bags(),
    Pooling(),
    Additions(),
    TablesOfBags(),
    SingleRows(),
    TablesOfRows(),
)

__all__ = ["REWRITES", "Rewrite"]
