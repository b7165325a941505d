"""The suites: which cells are measured. One file per suite.

A new suite is a file here with a subclass of :class:`Suite`, an entry in
:data:`SUITES` and, if it measures a new kind of thing, a problem in ``bench/problems`` with a
method of that name in ``bench/peers/base.py``.
"""

from __future__ import annotations

from .backward import Backward, BagBackwardSuite
from .base import Axis, Cell, Context, FilterError, Suite
from .cuembed import CuEmbedForward, CuEmbedSweep
from .fast_embedding import FastEmbeddingSuite
from .fast_multi_embedding import FastMultiEmbeddingSuite
from .forward import Forward
from .model import Model
from .odd_widths import OddWidths
from .pooled_tables import PooledTablesSuite
from .sparse import Sparse

__all__ = ["SUITES", "Axis", "Cell", "Context", "FilterError", "Suite"]

SUITES: dict[str, Suite] = {
    suite.name: suite
    for suite in (
        FastEmbeddingSuite(),
        FastMultiEmbeddingSuite(),
        CuEmbedForward(),
        CuEmbedSweep(),
        Forward(),
        Backward(),
        BagBackwardSuite(),
        PooledTablesSuite(),
        OddWidths(),
        Sparse(),
        Model(),
    )
}
