"""FastEmbeddingBag: torch.nn.EmbeddingBag through this library's kernels."""

from __future__ import annotations

from torch import Tensor, nn

from ..ops.embedding_bag import embedding_bag


class FastEmbeddingBag(nn.EmbeddingBag):
    """A table of embeddings read in bags: a drop-in replacement of :class:`torch.nn.EmbeddingBag`.

    It takes the same arguments with the same meaning, holds the same parameter and loads the same
    state_dict. Beyond torch, ``per_sample_weights`` work with mode ``"mean"`` too (the sum of
    weight x row divided by the sum of the weights).

    Args:
        num_embeddings: rows of the table.
        embedding_dim: width of a row.
        max_norm: rows that the input names and whose norm is larger are scaled down to it, in
            place, by every forward.
        norm_type: the p of that norm.
        scale_grad_by_freq: divides the gradient of a row by how often the input names it. Not with
            mode ``"max"``.
        mode: ``"sum"``, ``"mean"`` or ``"max"``.
        sparse: the gradient of ``weight`` is a coalesced sparse tensor of the rows that the input
            names, also in compiled code.
        include_last_offset: offsets end with the end of the last bag.
        padding_idx: a row that starts as zeros and that no bag takes in; negative values count from
            the end.
        device, dtype: of the table; dtype float32, float64, float16 or bfloat16.

    Attributes:
        weight: the table, (num_embeddings, embedding_dim), drawn from N(0, 1).

    """

    def forward(
        self,
        input: Tensor,
        offsets: Tensor | None = None,
        per_sample_weights: Tensor | None = None,
    ) -> Tensor:
        """Reduces bags of rows.

        Args:
            input: (B, hotness), (N,) with ``offsets``, or a nested tensor (B, j) of
                ``layout=torch.jagged``; int32 or int64.
            offsets: (B,), or (B + 1,) with ``include_last_offset``; int32 or int64.
            per_sample_weights: a weight for each index, as ``input`` is laid out.

        Returns:
            (B, embedding_dim); zeros for empty bags.

        Raises:
            IndexError: an index is outside [0, num_embeddings), or offsets make no bags; late on
                CUDA (:class:`embed_ops.bounds_check`).
            ValueError: an argument of a wrong dtype, shape or device.
        """
        return embedding_bag(
            input,
            self.weight,
            offsets,
            self.max_norm,
            self.norm_type,
            self.scale_grad_by_freq,
            self.mode,
            self.sparse,
            per_sample_weights,
            self.include_last_offset,
            self.padding_idx,
        )
