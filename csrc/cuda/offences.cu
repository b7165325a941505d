#include "cuda/offences.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <mutex>
#include <optional>

#include "cuda/launch.h"

namespace embed_ops {

namespace {

struct Record {
  std::atomic<OffenceRecord*> host{nullptr};
  OffenceRecord* device = nullptr;
};

std::array<Record, 128> records;
std::mutex records_mutex;

// Allowed while a stream is captured too: the memory is not part of the graph.
class RelaxedCapture {
 public:
  RelaxedCapture() {
    check_cuda(cudaThreadExchangeStreamCaptureMode(&mode_), "cudaThreadExchangeStreamCaptureMode");
  }
  ~RelaxedCapture() {
    cudaThreadExchangeStreamCaptureMode(&mode_);
  }

 private:
  cudaStreamCaptureMode mode_ = cudaStreamCaptureModeRelaxed;
};

Record& record_of(int device) {
  Record& record = records.at(device);
  if (record.host.load(std::memory_order_acquire) != nullptr) {
    return record;
  }
  const std::lock_guard<std::mutex> lock(records_mutex);
  if (record.host.load(std::memory_order_relaxed) == nullptr) {
    const RelaxedCapture relaxed;
    void* memory = nullptr;
    check_cuda(cudaHostAlloc(&memory, sizeof(OffenceRecord), cudaHostAllocMapped), "cudaHostAlloc");
    std::memset(memory, 0, sizeof(OffenceRecord));
    auto* host = static_cast<OffenceRecord*>(memory);
    host->epoch = 1;
    void* device_address = nullptr;
    check_cuda(cudaHostGetDevicePointer(&device_address, memory, 0), "cudaHostGetDevicePointer");
    record.device = static_cast<OffenceRecord*>(device_address);
    record.host.store(host, std::memory_order_release);
  }
  return record;
}

const OffenceSlot* pending_slot(const OffenceRecord& record) {
  for (const OffenceSlot* slot : {&record.of_offsets, &record.of_indices}) {
    if (slot->reported == record.epoch) {
      return slot;
    }
  }
  return nullptr;
}

std::optional<Offence> take_offence(Record& record) {
  OffenceRecord* host = record.host.load(std::memory_order_acquire);
  if (host == nullptr || pending_slot(*host) == nullptr) {
    return std::nullopt;
  }
  const std::lock_guard<std::mutex> lock(records_mutex);
  const OffenceSlot* slot = pending_slot(*host);
  if (slot == nullptr) {
    return std::nullopt; // another thread took it
  }
  std::atomic_thread_fence(std::memory_order_acquire);
  const Offence offence = slot->offence;
  host->epoch = host->epoch + 1;
  return offence;
}

} // namespace

OffenceRecord* offence_record_on_device(int device) {
  return record_of(device).device;
}

void raise_pending_offence(int device) {
  if (const auto offence = take_offence(records.at(device))) {
    throw std::out_of_range(offence_text(*offence));
  }
}

} // namespace embed_ops

// Copies the text of a pending offence on any device, cut to `capacity` bytes with the closing
// zero, and clears it. Returns whether there was one.
EMBED_OPS_EXPORT int embed_ops_take_error(char* text, int64_t capacity) {
  for (embed_ops::Record& record : embed_ops::records) {
    if (const auto offence = embed_ops::take_offence(record)) {
      const std::string message = embed_ops::offence_text(*offence);
      const int64_t length = std::min<int64_t>(capacity - 1, static_cast<int64_t>(message.size()));
      if (length >= 0) {
        std::memcpy(text, message.data(), length);
        text[length] = '\0';
      }
      return 1;
    }
  }
  return 0;
}
