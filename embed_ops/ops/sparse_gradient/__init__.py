"""What ``sparse=True`` does: ``weight.grad`` becomes a coalesced sparse COO tensor.

The gradient is computed in compressed form, the rows that lookups name and their values, and never
as a dense table. In eager code an autograd node turns the pair into the sparse tensor.

Sparse tensors are fragile in the compiler's graphs (pytorch/pytorch#173053), and come out of them
uncoalesced. So in compiled code the table is looked up detached, and its place in the autograd
graph is taken by a *placeholder* that belongs to the weight. In the backward graph one operator
(``embed_ops::deposit_gradient``) computes the rows and values and *deposits* them under the
weight's *ticket*: no tensor of the graph has a size that only the data say, and CUDA graphs leave
the operator out. When autograd arrives at the placeholder, outside of the graph, a hook assembles
the sparse tensor there and hands it to autograd as the gradient of the weight: hooks of the weight
run, and gradients accumulate, as in eager code. (Hooks on the weight also run once with None, since
the graph has no gradient for it itself.)

torch keeps no note that the first gradient it accumulates is coalesced, and on CUDA adds two sparse
tensors by putting one behind the other. So a hook on the weight, from the first lookup with
``sparse=True`` on, restores the note or coalesces what has been added up. torch adds gradients of
several threads one after the other, but runs hooks beside that: a weight whose gradients are sparse
takes the backwards of one thread at a time.
"""

from .attach import attach, attach_tables, wanted_for
from .coo import coalesce
from .eager import backward, save

__all__ = ["attach", "attach_tables", "backward", "coalesce", "save", "wanted_for"]
