// What the backend asks the CUDA runtime and torch for.

#pragma once

#include <cuda_runtime.h>

namespace embed_ops {

// torch's current stream of the device.
cudaStream_t current_stream(int device);

int num_processors(int device);

} // namespace embed_ops
