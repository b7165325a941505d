"""The operators' public functions and autograd formulas, one module per family of ops.

Schemas are in csrc/schema.cpp, kernels in csrc/cpu and csrc/cuda, fake kernels in embed_ops.meta.
"""
