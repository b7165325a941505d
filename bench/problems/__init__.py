"""What is computed: inputs, the fp64 reference, and the bytes that must move. One file per op.

A problem knows nothing of peers, and peers know nothing of distributions and grids: a peer gets a
problem's inputs and returns tensors, the problem says whether they are right.
"""

from .bag import BagBackward, BagForward
from .base import Problem, Result
from .lookup import LookupBackward, LookupForward, LookupStep
from .model import ModelStep, Modules, Training
from .multi import MultiForward, MultiStep, PooledTables
from .sparse import CompressedBackward, SparseStep

__all__ = [
    "BagBackward",
    "BagForward",
    "CompressedBackward",
    "LookupBackward",
    "LookupForward",
    "LookupStep",
    "ModelStep",
    "Modules",
    "MultiForward",
    "MultiStep",
    "PooledTables",
    "Problem",
    "Result",
    "SparseStep",
    "Training",
]
