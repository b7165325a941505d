// Every op's host function, instantiated for one backend and registered under one dispatch key.

#pragma once

#include <torch/csrc/stable/library.h>

#include "embedding.h"
#include "embedding_bag.h"
#include "multi_embedding.h"

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
}

} // namespace embed_ops
