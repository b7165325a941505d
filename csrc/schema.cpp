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

  m.def(
      "embedding_compressed_backward(Tensor grad_output, Tensor indices, SymInt num_weights, "
      "int padding_idx=-1, bool scale_grad_by_freq=False) -> (Tensor values, Tensor rows)");
  m.def(
      "embedding_compressed_backward_padded(Tensor grad_output, Tensor indices, "
      "SymInt num_weights, int padding_idx=-1, bool scale_grad_by_freq=False, "
      "SymInt? size=None) -> (Tensor values, Tensor rows, Tensor num_unique)");
  m.def(
      "embedding_bag_compressed_backward(Tensor grad_output, Tensor indices, Tensor? offsets, "
      "Tensor? per_sample_weights, Tensor argmax, SymInt num_weights, "
      "bool scale_grad_by_freq=False, str mode=\"mean\", bool include_last_offset=False, "
      "int padding_idx=-1) -> (Tensor values, Tensor rows)");
  m.def(
      "embedding_bag_compressed_backward_padded(Tensor grad_output, Tensor indices, "
      "Tensor? offsets, Tensor? per_sample_weights, Tensor argmax, SymInt num_weights, "
      "bool scale_grad_by_freq=False, str mode=\"mean\", bool include_last_offset=False, "
      "int padding_idx=-1, SymInt? size=None) "
      "-> (Tensor values, Tensor rows, Tensor num_unique)");
  m.def(
      "multi_embedding_compressed_backward(Tensor grad_output, Tensor indices, "
      "SymInt[] num_embeddings, int[] embedding_dims, Tensor? offsets=None, str mode=\"sum\", "
      "Tensor? per_sample_weights=None) -> (Tensor[] values, Tensor[] rows)");
  m.def(
      "multi_embedding_compressed_backward_padded(Tensor grad_output, Tensor indices, "
      "SymInt[] num_embeddings, int[] embedding_dims, Tensor? offsets=None, str mode=\"sum\", "
      "Tensor? per_sample_weights=None) "
      "-> (Tensor[] values, Tensor[] rows, Tensor num_unique)");

  m.def("row_ids_from_fixed(Tensor indices) -> Tensor");
  m.def(
      "row_ids_from_csr(Tensor offsets, SymInt num_indices, bool include_last_offset=False) "
      "-> Tensor");
  m.def(
      "offsets_from_row_ids(Tensor row_ids, SymInt num_bags, bool include_last_offset=False) "
      "-> Tensor");
  m.def(
      "transpose(Tensor indices, Tensor row_ids, SymInt num_weights, "
      "Tensor? per_sample_weights=None, int padding_idx=-1) "
      "-> (Tensor per_sample_weights, Tensor indices, Tensor row_ids)");
  m.def(
      "compressed_indices(Tensor indices) "
      "-> (Tensor rows, Tensor inverse, Tensor counts, Tensor offsets)");
  m.def(
      "compressed_indices_padded(Tensor indices) "
      "-> (Tensor rows, Tensor inverse, Tensor counts, Tensor offsets, Tensor num_unique)");
}
