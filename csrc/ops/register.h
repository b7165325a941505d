// Every op's host function, instantiated for one backend and registered under one dispatch key.

#pragma once

#include <torch/csrc/stable/library.h>

#include "compressed_backward.h"
#include "embedding.h"
#include "embedding_bag.h"
#include "index_transforms.h"
#include "multi_embedding.h"
#include "multi_embedding_list.h"

namespace embed_ops {

template <class Backend>
void register_ops(torch::stable::detail::StableLibrary& m) {
  m.impl("embedding", TORCH_BOX(&embedding<Backend>));
  m.impl("embedding_dense_backward", TORCH_BOX(&embedding_dense_backward<Backend>));
  m.impl("embedding_renorm_", TORCH_BOX(&embedding_renorm_<Backend>));
  m.impl("embedding_bag", TORCH_BOX(&embedding_bag<Backend>));
  m.impl("embedding_bag_dense_backward", TORCH_BOX(&embedding_bag_dense_backward<Backend>));
  m.impl(
      "embedding_bag_per_sample_weights_backward",
      TORCH_BOX(&embedding_bag_per_sample_weights_backward<Backend>));
  m.impl("multi_embedding", TORCH_BOX(&multi_embedding<Backend>));
  m.impl("multi_embedding_dense_backward", TORCH_BOX(&multi_embedding_dense_backward<Backend>));
  m.impl(
      "multi_embedding_per_sample_weights_backward",
      TORCH_BOX(&multi_embedding_per_sample_weights_backward<Backend>));
  m.impl("multi_embedding_list", TORCH_BOX(&multi_embedding_list<Backend>));
  m.impl(
      "multi_embedding_list_dense_backward",
      TORCH_BOX(&multi_embedding_list_dense_backward<Backend>));
  m.impl(
      "multi_embedding_list_per_sample_weights_backward",
      TORCH_BOX(&multi_embedding_list_per_sample_weights_backward<Backend>));
  m.impl("embedding_compressed_backward", TORCH_BOX(&embedding_compressed_backward<Backend>));
  m.impl(
      "embedding_compressed_backward_padded",
      TORCH_BOX(&embedding_compressed_backward_padded<Backend>));
  m.impl(
      "embedding_bag_compressed_backward", TORCH_BOX(&embedding_bag_compressed_backward<Backend>));
  m.impl(
      "embedding_bag_compressed_backward_padded",
      TORCH_BOX(&embedding_bag_compressed_backward_padded<Backend>));
  m.impl(
      "multi_embedding_compressed_backward",
      TORCH_BOX(&multi_embedding_compressed_backward<Backend>));
  m.impl(
      "multi_embedding_compressed_backward_padded",
      TORCH_BOX(&multi_embedding_compressed_backward_padded<Backend>));
  m.impl("row_ids_from_fixed", TORCH_BOX(&row_ids_from_fixed<Backend>));
  m.impl("row_ids_from_csr", TORCH_BOX(&row_ids_from_csr<Backend>));
  m.impl("offsets_from_row_ids", TORCH_BOX(&offsets_from_row_ids<Backend>));
  m.impl("transpose", TORCH_BOX(&transpose<Backend>));
  m.impl("compressed_indices", TORCH_BOX(&compressed_indices<Backend>));
  m.impl("compressed_indices_padded", TORCH_BOX(&compressed_indices_padded<Backend>));
}

} // namespace embed_ops
