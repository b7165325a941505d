"""FastEmbedding: torch.nn.Embedding through this library's kernels."""

from __future__ import annotations

from torch import Tensor, nn

from ..ops.embedding import embedding


class FastEmbedding(nn.Embedding):
    """A table of embeddings: a drop-in replacement of :class:`torch.nn.Embedding`.

    It takes the same arguments with the same meaning, holds the same parameter and loads the same
    state_dict.

    Args:
        num_embeddings: rows of the table.
        embedding_dim: width of a row.
        padding_idx: a row that starts as zeros and whose gradient is always zero; negative values
            count from the end.
        max_norm: rows that the input names and whose norm is larger are scaled down to it, in
            place, by every forward.
        norm_type: the p of that norm.
        scale_grad_by_freq: divides the gradient of a row by how often the input names it.
        sparse: the gradient of ``weight`` is a coalesced sparse tensor of the rows that the input
            names, also in compiled code.
        device, dtype: of the table; dtype float32, float64, float16 or bfloat16.

    Shape:
        - Input: any, int32 or int64.
        - Output: ``(*input.shape, embedding_dim)``.

    Attributes:
        weight: the table, (num_embeddings, embedding_dim), drawn from N(0, 1).

    Raises:
        IndexError: by forward, for an index outside [0, num_embeddings); late on CUDA
            (:class:`embed_ops.bounds_check`).
    """

    def forward(self, input: Tensor) -> Tensor:
        return embedding(
            input,
            self.weight,
            self.padding_idx,
            self.max_norm,
            self.norm_type,
            self.scale_grad_by_freq,
            self.sparse,
        )
