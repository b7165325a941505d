#include "cuda/backend.h"

#include "cuda/launch.h"
#include "cuda/offences.h"
#include "cuda/runtime.h"

namespace embed_ops {

Cuda::Cuda(const Tensor& like)
    : like_(like), guard_(like.get_device_index()), device_(like.get_device_index()) {
  raise_pending_offence(device_);
  processors_ = num_processors(device_);
  stream_ = current_stream(device_);
}

OffenceSink Cuda::sink(OpId op) const {
  return {offence_record_on_device(device_), op, bounds_check()};
}

void* Cuda::workspace_bytes(int64_t bytes) {
  workspaces_.push_back(allocate(like_, {bytes}, aoti_torch_dtype_uint8()));
  return workspaces_.back().mutable_data_ptr();
}

} // namespace embed_ops
