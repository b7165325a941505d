// Hints about large results.

#pragma once

#ifdef __linux__
#include <sys/mman.h>
#endif

#include <cstdint>

namespace embed_ops::cpu {

// For memory about to be written for the first time. The C library takes blocks of 32 MB and more
// from the system and gives them back when they are freed, so each such result is written to fresh
// pages, and at 4 KB a page their faults cost several times the work. Where the system offers
// pages of 2 MB on request, this requests them.
inline void expect_writes(void* data, int64_t bytes) {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  constexpr int64_t kFreshBytes = int64_t(32) << 20;
  constexpr uintptr_t kHugePage = uintptr_t(2) << 20;
  if (bytes >= kFreshBytes) {
    const uintptr_t begin = (reinterpret_cast<uintptr_t>(data) + kHugePage - 1) & ~(kHugePage - 1);
    const uintptr_t end = (reinterpret_cast<uintptr_t>(data) + bytes) & ~(kHugePage - 1);
    madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
  }
#endif
}

} // namespace embed_ops::cpu
