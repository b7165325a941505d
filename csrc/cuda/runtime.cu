#include "cuda/runtime.h"

#include <dlfcn.h>

#include <array>
#include <atomic>
#include <stdexcept>

#include "cuda/launch.h"

namespace embed_ops {

namespace {

using GetStream = int32_t (*)(int32_t device, void** stream);

// The one symbol needed of libtorch_cuda. Looked up in the library that torch has loaded, so that
// this library also links on hosts whose torch has no CUDA.
GetStream find_get_stream() {
  void* library = dlopen("libtorch_cuda.so", RTLD_LAZY | RTLD_NOLOAD);
  void* symbol = library ? dlsym(library, "aoti_torch_get_current_cuda_stream") : nullptr;
  if (symbol == nullptr) {
    throw std::runtime_error("embed_ops: torch's CUDA library is not loaded in this process");
  }
  return reinterpret_cast<GetStream>(symbol);
}

} // namespace

cudaStream_t current_stream(int device) {
  static const GetStream get_stream = find_get_stream();
  void* stream = nullptr;
  if (get_stream(device, &stream) != 0) {
    throw std::runtime_error("embed_ops: torch has no current stream for this device");
  }
  return static_cast<cudaStream_t>(stream);
}

namespace {

// One attribute of every device, asked for once.
template <cudaDeviceAttr kAttribute>
int attribute_of(int device) {
  static std::array<std::atomic<int>, 128> cache{};
  std::atomic<int>& known = cache.at(device);
  if (known == 0) {
    int value = 0;
    check_cuda(cudaDeviceGetAttribute(&value, kAttribute, device), "cudaDeviceGetAttribute");
    known = value;
  }
  return known;
}

} // namespace

int num_processors(int device) {
  return attribute_of<cudaDevAttrMultiProcessorCount>(device);
}

bool has_early_launch(int device) {
  return attribute_of<cudaDevAttrComputeCapabilityMajor>(device) >= 9;
}

} // namespace embed_ops
