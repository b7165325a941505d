"""The Inductor plugin: ``torch.compile(model, backend="embed_ops")``.

The lookups that a model is written with, whatever it uses for them, become this library's; all else
is compiled by Inductor as before. :func:`explain` shows what becomes of a model's lookups.

    backend.py    what torch.compile calls
    passes/       the rewrites of Dynamo's graph, in their order
    gather.py     plain lookups as Inductor's own gather, after differentiation
    direct.py     how the code that Inductor writes calls the ops
    report.py     what was found and what became of it
    explain.py    the same, printed
    _torch.py     what differs between releases of torch
"""

from .backend import backend
from .explain import explain

__all__ = ["backend", "explain"]
