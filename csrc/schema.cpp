// Every operator's schema, and nothing else.

#include <torch/csrc/stable/library.h>

STABLE_TORCH_LIBRARY(embed_ops, m) {
  m.def(
      "embedding(Tensor weight, Tensor indices, int padding_idx=-1, "
      "bool scale_grad_by_freq=False) -> Tensor");
  m.def(
      "embedding_dense_backward(Tensor grad_output, Tensor indices, SymInt num_weights, "
      "int padding_idx=-1, bool scale_grad_by_freq=False, bool deterministic=False) -> Tensor");
  m.def(
      "embedding_renorm_(Tensor(a!) weight, Tensor indices, float max_norm, "
      "float norm_type=2.0) -> ()");

  m.def(
      "embedding_bag(Tensor weight, Tensor indices, Tensor? offsets=None, "
      "bool scale_grad_by_freq=False, str mode=\"mean\", Tensor? per_sample_weights=None, "
      "bool include_last_offset=False, int padding_idx=-1) -> (Tensor output, Tensor argmax)");
  m.def(
      "embedding_bag_dense_backward(Tensor grad_output, Tensor indices, Tensor? offsets, "
      "Tensor? per_sample_weights, Tensor argmax, SymInt num_weights, "
      "bool scale_grad_by_freq=False, str mode=\"mean\", bool include_last_offset=False, "
      "int padding_idx=-1, bool deterministic=False) -> Tensor");
  m.def(
      "embedding_bag_per_sample_weights_backward(Tensor grad_output, Tensor weight, "
      "Tensor indices, Tensor? offsets, Tensor per_sample_weights, str mode=\"mean\", "
      "bool include_last_offset=False, int padding_idx=-1) -> Tensor");

  m.def(
      "multi_embedding(Tensor weight, Tensor indices, int[] num_embeddings, "
      "int[] embedding_dims, Tensor? offsets=None, str mode=\"sum\", "
      "Tensor? per_sample_weights=None) -> Tensor");
  m.def(
      "multi_embedding_dense_backward(Tensor grad_output, Tensor indices, "
      "int[] num_embeddings, int[] embedding_dims, Tensor? offsets=None, str mode=\"sum\", "
      "Tensor? per_sample_weights=None, bool padded=False, bool deterministic=False) -> Tensor");
  m.def(
      "multi_embedding_per_sample_weights_backward(Tensor grad_output, Tensor weight, "
      "Tensor indices, int[] num_embeddings, int[] embedding_dims, Tensor offsets, str mode, "
      "Tensor per_sample_weights) -> Tensor");
  m.def(
      "multi_embedding_list(Tensor[] weights, Tensor indices, Tensor? offsets=None, "
      "str mode=\"sum\", Tensor? per_sample_weights=None) -> Tensor");
  m.def(
      "multi_embedding_list_dense_backward(Tensor grad_output, Tensor indices, "
      "SymInt[] num_embeddings, int[] embedding_dims, Tensor? offsets=None, str mode=\"sum\", "
      "Tensor? per_sample_weights=None, bool deterministic=False) -> Tensor[]");
  m.def(
      "multi_embedding_list_per_sample_weights_backward(Tensor grad_output, Tensor[] weights, "
      "Tensor indices, Tensor offsets, str mode, Tensor per_sample_weights) -> Tensor");
}
