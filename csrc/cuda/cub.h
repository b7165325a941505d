// CUB's calling convention: once for the size of the workspace, once to run.

#pragma once

#include <algorithm>

#include "cuda/backend.h"
#include "cuda/launch.h"

namespace embed_ops {

template <class F>
void with_cub_workspace(Cuda& cuda, const char* what, F&& call) {
  size_t bytes = 0;
  check_cuda(call(nullptr, bytes), what);
  void* workspace = cuda.workspace<char>(static_cast<int64_t>(std::max<size_t>(bytes, 1)));
  check_cuda(call(workspace, bytes), what);
}

} // namespace embed_ops
