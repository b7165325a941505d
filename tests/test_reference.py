"""The reference itself: against torch.nn.functional where torch has the feature, against plain
autograd of its own forward for every gradient."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from embed_ops import reference

INDICES = torch.tensor([3, 0, 3, 7, 1, 3, 3, 0, 5, 2, 2, 6])
OFFSETS = torch.tensor([0, 0, 4, 4, 5, 11])
NUM_ROWS, WIDTH = 8, 5


def table() -> torch.Tensor:
    return torch.randn(NUM_ROWS, WIDTH, dtype=torch.float64, requires_grad=True)


def lookup_weights() -> torch.Tensor:
    return (torch.rand(INDICES.numel(), dtype=torch.float64) + 0.5).requires_grad_()


@pytest.mark.parametrize("padding_idx", [None, 3])
@pytest.mark.parametrize("scale_grad_by_freq", [False, True])
def test_embedding_is_torchs(padding_idx: int | None, scale_grad_by_freq: bool) -> None:
    weight, indices = table(), INDICES.reshape(3, 4)
    expected = F.embedding(indices, weight, padding_idx, scale_grad_by_freq=scale_grad_by_freq)
    grad_output = torch.randn_like(expected)
    (expected_grad,) = torch.autograd.grad(expected, weight, grad_output)
    padding = -1 if padding_idx is None else padding_idx

    torch.testing.assert_close(reference.embedding(weight, indices), expected)
    torch.testing.assert_close(
        reference.embedding_dense_backward(
            grad_output, indices, NUM_ROWS, padding, scale_grad_by_freq
        ),
        expected_grad,
    )


@pytest.mark.parametrize("norm_type", [1.0, 2.0, float("inf")])
def test_renorm_is_torchs(norm_type: float) -> None:
    ours, theirs = table().detach(), table().detach()
    theirs.copy_(ours)
    F.embedding(INDICES, theirs, max_norm=0.7, norm_type=norm_type)
    reference.embedding_renorm_(ours, INDICES, 0.7, norm_type)
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("layout", ["fixed", "csr", "csr with last offset"])
@pytest.mark.parametrize("padding_idx", [None, 3])
@pytest.mark.parametrize(
    "mode, weighted", [("sum", False), ("sum", True), ("mean", False), ("max", False)]
)
def test_embedding_bag_is_torchs(
    layout: str, padding_idx: int | None, mode: str, weighted: bool
) -> None:
    weight = table()
    weights = lookup_weights() if weighted else None
    include_last_offset = layout == "csr with last offset"
    if layout == "fixed":
        indices, offsets = INDICES.reshape(4, 3), None
        weights = None if weights is None else weights.reshape(4, 3)
    else:
        indices = INDICES
        offsets = torch.cat([OFFSETS, torch.tensor([12])]) if include_last_offset else OFFSETS
    expected = F.embedding_bag(
        indices,
        weight,
        offsets,
        mode=mode,
        per_sample_weights=weights,
        include_last_offset=include_last_offset,
        padding_idx=padding_idx,
    )
    grad_output = torch.randn_like(expected)
    wanted = (weight,) if weights is None else (weight, weights)
    expected_grads = torch.autograd.grad(expected, wanted, grad_output)
    padding = -1 if padding_idx is None else padding_idx

    output, argmax = reference.embedding_bag(
        weight, indices, offsets, False, mode, weights, include_last_offset, padding
    )
    torch.testing.assert_close(output, expected)
    torch.testing.assert_close(
        reference.embedding_bag_dense_backward(
            grad_output,
            indices,
            offsets,
            weights,
            argmax,
            NUM_ROWS,
            False,
            mode,
            include_last_offset,
            padding,
        ),
        expected_grads[0],
    )
    if weights is not None:
        torch.testing.assert_close(
            reference.embedding_bag_per_sample_weights_backward(
                grad_output, weight, indices, offsets, weights, mode, include_last_offset, padding
            ),
            expected_grads[1],
        )


@pytest.mark.parametrize("padding_idx", [None, 3])
@pytest.mark.parametrize("mode", ["sum", "mean"])
def test_bags_scale_by_frequency_as_torchs_embedding_does(
    padding_idx: int | None, mode: str
) -> None:
    # Against embedding, not embedding_bag, whose CPU version divides by the counts of other rows
    # (torch 2.13: bag [0, 0, 0, 1, 2, 2] with mode sum scales row 1 by 1/3).
    weight, indices = table(), INDICES.reshape(4, 3)
    rows = F.embedding(indices, weight, padding_idx, scale_grad_by_freq=True)
    counts = torch.ones_like(indices) if padding_idx is None else (indices != padding_idx).long()
    expected = (rows * counts[..., None]).sum(dim=1)
    if mode == "mean":
        expected = expected / counts.sum(dim=1, keepdim=True).clamp(min=1)
    grad_output = torch.randn_like(expected)
    (expected_grad,) = torch.autograd.grad(expected, weight, grad_output)
    padding = -1 if padding_idx is None else padding_idx

    output, argmax = reference.embedding_bag(weight, indices, None, True, mode, padding_idx=padding)
    torch.testing.assert_close(output, expected)
    torch.testing.assert_close(
        reference.embedding_bag_dense_backward(
            grad_output, indices, None, None, argmax, NUM_ROWS, True, mode, padding_idx=padding
        ),
        expected_grad,
    )


def test_mean_with_weights_is_a_weighted_average() -> None:
    weight = torch.tensor([[1.0, 10.0], [2.0, 20.0], [4.0, 40.0]])
    indices = torch.tensor([[0, 2], [1, 1]])
    weights = torch.tensor([[3.0, 1.0], [0.25, 0.5]])
    output, _ = reference.embedding_bag(weight, indices, per_sample_weights=weights)
    torch.testing.assert_close(output, torch.tensor([[7 / 4, 70 / 4], [2.0, 20.0]]))


@pytest.mark.parametrize("padding_idx", [-1, 3])
def test_gradients_of_the_weighted_mean_are_autograds(padding_idx: int) -> None:
    weight, weights = table(), lookup_weights()
    output, argmax = reference.embedding_bag(
        weight, INDICES, OFFSETS, per_sample_weights=weights, padding_idx=padding_idx
    )
    grad_output = torch.randn_like(output)
    expected = torch.autograd.grad(output, (weight, weights), grad_output)
    torch.testing.assert_close(
        reference.embedding_bag_dense_backward(
            grad_output, INDICES, OFFSETS, weights, argmax, NUM_ROWS, padding_idx=padding_idx
        ),
        expected[0],
    )
    torch.testing.assert_close(
        reference.embedding_bag_per_sample_weights_backward(
            grad_output, weight, INDICES, OFFSETS, weights, padding_idx=padding_idx
        ),
        expected[1],
    )


def test_max_names_the_first_of_equals_and_lets_nan_win() -> None:
    weight = torch.tensor([[1.0, 2.0], [1.0, 5.0], [0.0, float("nan")]])
    indices, offsets = torch.tensor([1, 0, 0, 2, 1]), torch.tensor([0, 2, 5, 5])
    output, argmax = reference.embedding_bag(weight, indices, offsets, mode="max")
    torch.testing.assert_close(
        output,
        torch.tensor([[1.0, 5.0], [1.0, float("nan")], [0.0, 0.0], [0.0, 0.0]]),
        equal_nan=True,
    )
    assert argmax.tolist() == [[1, 1], [0, 2], [-1, -1], [-1, -1]]


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("pooled", [False, True])
@pytest.mark.parametrize("mode", ["sum", "mean"])
def test_gradients_of_multi_embedding_are_autograds(padded: bool, pooled: bool, mode: str) -> None:
    num_embeddings, embedding_dims = [8, 3, 6], [4, 1, 3]
    tables = [
        torch.randn(shape, dtype=torch.float64)
        for shape in zip(num_embeddings, embedding_dims, strict=True)
    ]
    weight = reference.join_tables(tables, padded).requires_grad_()
    weights = None
    if pooled:
        indices = torch.tensor([7, 1, 0, 2, 2, 1, 5])
        offsets = torch.tensor([0, 2, 3, 3, 5, 6, 7])
        weights = torch.rand(7, dtype=torch.float64).add(0.5).requires_grad_()
    else:
        indices, offsets = torch.tensor([[7, 2, 5], [7, 0, 1]]), None
    output = reference.multi_embedding(
        weight, indices, num_embeddings, embedding_dims, offsets, mode, weights
    )
    assert output.shape == (2, 8)
    grad_output = torch.randn_like(output)
    wanted = [weight] if weights is None else [weight, weights]
    expected = torch.autograd.grad(output, wanted, grad_output)
    torch.testing.assert_close(
        reference.multi_embedding_dense_backward(
            grad_output, indices, num_embeddings, embedding_dims, offsets, mode, weights, padded
        ),
        expected[0],
    )
    if weights is not None:
        torch.testing.assert_close(
            reference.multi_embedding_per_sample_weights_backward(
                grad_output, weight, indices, num_embeddings, embedding_dims, offsets, mode, weights
            ),
            expected[1],
        )


def test_a_row_that_does_not_exist_reads_as_zeros() -> None:
    weight = torch.ones(4, 2)
    output = reference.embedding(weight, torch.tensor([-1, 4, 0]))
    assert output.tolist() == [[0, 0], [0, 0], [1, 1]]
