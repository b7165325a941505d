"""The modules: FastEmbedding, FastEmbeddingBag and FastMultiEmbedding."""

from .embedding import FastEmbedding
from .embedding_bag import FastEmbeddingBag
from .multi_embedding import FastMultiEmbedding

__all__ = ["FastEmbedding", "FastEmbeddingBag", "FastMultiEmbedding"]
