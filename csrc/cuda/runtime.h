// What the backend asks the CUDA runtime and torch for.

#pragma once

#include <cuda_runtime.h>

namespace embed_ops {

// torch's current stream of the device.
cudaStream_t current_stream(int device);

int num_processors(int device);

// Whether a kernel can begin while the one before it still runs (compute capability 9.0).
bool has_early_launch(int device);

} // namespace embed_ops
