"""Every op of the library has all its parts; one that lacks any fails here, before it is used."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest
import torch
from calls import overload
from samples import SAMPLES, WITHOUT_GRADIENT

from embed_ops import _library, reference

OPS = sorted(
    name.removeprefix("embed_ops::")
    for name in torch._C._dispatch_get_all_op_names()
    if name.startswith("embed_ops::")
)

PLUMBING = {"attach_gradient", "attach_gradients", "deposit_gradient", "deposit_gradients"}
"""They take gradients out of compiled code: test_sparse_compiled.py is about them."""

ALL_OPS = OPS
OPS = [op for op in ALL_OPS if op not in PLUMBING]

WITHOUT_AUTOGRAD = {
    # Edits the parameter itself, outside of the graph, as torch's does.
    "embedding_renorm_",
}

SOURCES = Path(__file__).parents[1] / "csrc"


def has_kernel(op: str, key: str) -> bool:
    return torch._C._dispatch_has_kernel_for_dispatch_key(f"embed_ops::{op}", key)


def registered_in_source(op: str, file: Path) -> bool:
    return re.search(rf'\.impl\(\s*"{op}"', file.read_text()) is not None


def test_the_library_defines_ops() -> None:
    assert len(OPS) >= 12
    assert all(torch._C._dispatch_has_kernel(f"embed_ops::{op}") for op in OPS)


@pytest.mark.parametrize("op", OPS)
def test_cpu_kernel(op: str) -> None:
    assert has_kernel(op, "CPU")


@pytest.mark.parametrize("op", OPS)
def test_cuda_kernel(op: str) -> None:
    if _library._cuda is not None:
        assert has_kernel(op, "CUDA")
    elif not SOURCES.is_dir():
        pytest.skip("the CUDA library is not loaded and its sources are not here")
    else:
        # Not loaded here: then what the CUDA library is compiled from must register the op.
        assert registered_in_source(op, SOURCES / "ops" / "register.h")
        assert "register_ops<" in (SOURCES / "cuda" / "register.cu").read_text()


@pytest.mark.parametrize("op", sorted(PLUMBING))
def test_kernels_in_python(op: str) -> None:
    assert all(has_kernel(op, key) for key in ("CPU", "CUDA"))
    is_deposit = op.startswith("deposit")
    assert has_kernel(op, "Autograd") != is_deposit
    assert (torch.Tag.cudagraph_unsafe in overload(op).tags) == is_deposit


@pytest.mark.parametrize("op", ALL_OPS)
def test_fake_kernel(op: str) -> None:
    assert has_kernel(op, "Meta")
    entry = torch._library.simple_registry.singleton.find(f"embed_ops::{op}")
    assert entry.fake_impl.kernel is not None


@pytest.mark.parametrize("op", OPS)
def test_autograd_formula(op: str) -> None:
    if op in WITHOUT_AUTOGRAD:
        assert not has_kernel(op, "Autograd")
        assert overload(op)._schema.is_mutable
    elif op in WITHOUT_GRADIENT:
        assert not has_kernel(op, "Autograd")
    else:
        assert has_kernel(op, "Autograd")


@pytest.mark.parametrize("op", OPS)
def test_samples(op: str) -> None:
    assert SAMPLES.get(op), f"tests/samples.py has nothing for {op}"


def test_samples_are_of_ops_and_have_names_of_their_own() -> None:
    assert set(SAMPLES) == set(OPS)
    for samples in SAMPLES.values():
        names = [sample.name for sample in samples]
        assert len(set(names)) == len(names)


@pytest.mark.parametrize("op", OPS)
def test_reference_has_the_ops_arguments_and_defaults(op: str) -> None:
    parameters = inspect.signature(getattr(reference, op)).parameters
    theirs = {
        name: None if parameter.default is inspect.Parameter.empty else (parameter.default,)
        for name, parameter in parameters.items()
    }
    ours = {
        argument.name: (argument.default_value,) if argument.has_default_value() else None
        for argument in overload(op)._schema.arguments
    }
    assert list(theirs) == list(ours)
    assert theirs == ours


def test_schemas() -> None:
    expecttest = pytest.importorskip("expecttest")
    schemas = [str(overload(op)._schema).removeprefix("embed_ops::") for op in OPS]
    expecttest.assert_expected_inline(
        "\n".join(map(one_argument_a_line, schemas)),
        """\
compressed_indices:
  Tensor indices
  -> (Tensor rows, Tensor inverse, Tensor counts, Tensor offsets)
compressed_indices_padded:
  Tensor indices
  -> (Tensor rows, Tensor inverse, Tensor counts, Tensor offsets, Tensor num_unique)
embedding:
  Tensor weight
  Tensor indices
  int padding_idx=-1
  bool scale_grad_by_freq=False
  -> Tensor
embedding_bag:
  Tensor weight
  Tensor indices
  Tensor? offsets=None
  bool scale_grad_by_freq=False
  str mode="mean"
  Tensor? per_sample_weights=None
  bool include_last_offset=False
  int padding_idx=-1
  -> (Tensor output, Tensor argmax)
embedding_bag_compressed_backward:
  Tensor grad_output
  Tensor indices
  Tensor? offsets
  Tensor? per_sample_weights
  Tensor argmax
  SymInt num_weights
  bool scale_grad_by_freq=False
  str mode="mean"
  bool include_last_offset=False
  int padding_idx=-1
  -> (Tensor values, Tensor rows)
embedding_bag_compressed_backward_padded:
  Tensor grad_output
  Tensor indices
  Tensor? offsets
  Tensor? per_sample_weights
  Tensor argmax
  SymInt num_weights
  bool scale_grad_by_freq=False
  str mode="mean"
  bool include_last_offset=False
  int padding_idx=-1
  SymInt? size=None
  -> (Tensor values, Tensor rows, Tensor num_unique)
embedding_bag_dense_backward:
  Tensor grad_output
  Tensor indices
  Tensor? offsets
  Tensor? per_sample_weights
  Tensor argmax
  SymInt num_weights
  bool scale_grad_by_freq=False
  str mode="mean"
  bool include_last_offset=False
  int padding_idx=-1
  bool deterministic=False
  -> Tensor
embedding_bag_per_sample_weights_backward:
  Tensor grad_output
  Tensor weight
  Tensor indices
  Tensor? offsets
  Tensor per_sample_weights
  str mode="mean"
  bool include_last_offset=False
  int padding_idx=-1
  -> Tensor
embedding_compressed_backward:
  Tensor grad_output
  Tensor indices
  SymInt num_weights
  int padding_idx=-1
  bool scale_grad_by_freq=False
  -> (Tensor values, Tensor rows)
embedding_compressed_backward_padded:
  Tensor grad_output
  Tensor indices
  SymInt num_weights
  int padding_idx=-1
  bool scale_grad_by_freq=False
  SymInt? size=None
  -> (Tensor values, Tensor rows, Tensor num_unique)
embedding_dense_backward:
  Tensor grad_output
  Tensor indices
  SymInt num_weights
  int padding_idx=-1
  bool scale_grad_by_freq=False
  bool deterministic=False
  -> Tensor
embedding_renorm_:
  Tensor(a!) weight
  Tensor indices
  float max_norm
  float norm_type=2.
  -> ()
multi_embedding:
  Tensor weight
  Tensor indices
  int[] num_embeddings
  int[] embedding_dims
  Tensor? offsets=None
  str mode="sum"
  Tensor? per_sample_weights=None
  -> Tensor
multi_embedding_compressed_backward:
  Tensor grad_output
  Tensor indices
  SymInt[] num_embeddings
  int[] embedding_dims
  Tensor? offsets=None
  str mode="sum"
  Tensor? per_sample_weights=None
  -> (Tensor[] values, Tensor[] rows)
multi_embedding_compressed_backward_padded:
  Tensor grad_output
  Tensor indices
  SymInt[] num_embeddings
  int[] embedding_dims
  Tensor? offsets=None
  str mode="sum"
  Tensor? per_sample_weights=None
  -> (Tensor[] values, Tensor[] rows, Tensor num_unique)
multi_embedding_dense_backward:
  Tensor grad_output
  Tensor indices
  int[] num_embeddings
  int[] embedding_dims
  Tensor? offsets=None
  str mode="sum"
  Tensor? per_sample_weights=None
  bool padded=False
  bool deterministic=False
  -> Tensor
multi_embedding_list:
  Tensor[] weights
  Tensor indices
  Tensor? offsets=None
  str mode="sum"
  Tensor? per_sample_weights=None
  -> Tensor
multi_embedding_list_dense_backward:
  Tensor grad_output
  Tensor indices
  SymInt[] num_embeddings
  int[] embedding_dims
  Tensor? offsets=None
  str mode="sum"
  Tensor? per_sample_weights=None
  bool deterministic=False
  -> Tensor[]
multi_embedding_list_per_sample_weights_backward:
  Tensor grad_output
  Tensor[] weights
  Tensor indices
  Tensor offsets
  str mode
  Tensor per_sample_weights
  -> Tensor
multi_embedding_per_sample_weights_backward:
  Tensor grad_output
  Tensor weight
  Tensor indices
  int[] num_embeddings
  int[] embedding_dims
  Tensor offsets
  str mode
  Tensor per_sample_weights
  -> Tensor
offsets_from_row_ids:
  Tensor row_ids
  SymInt num_bags
  bool include_last_offset=False
  -> Tensor
row_ids_from_csr:
  Tensor offsets
  SymInt num_indices
  bool include_last_offset=False
  -> Tensor
row_ids_from_fixed:
  Tensor indices
  -> Tensor
transpose:
  Tensor indices
  Tensor row_ids
  SymInt num_weights
  Tensor? per_sample_weights=None
  int padding_idx=-1
  -> (Tensor per_sample_weights, Tensor indices, Tensor row_ids)""",
    )


def one_argument_a_line(schema: str) -> str:
    name, rest = schema.split("(", 1)
    arguments, result = rest.split(") -> ")
    return f"{name}:\n  " + arguments.replace(", ", "\n  ") + f"\n  -> {result}"
