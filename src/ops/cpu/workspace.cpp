#include "ops/cpu/workspace.h"

#include <malloc.h>
#include <sys/mman.h>

#include <array>
#include <atomic>
#include <cstdlib>
#include <new>

namespace phalanx::ops::cpu {
namespace {

std::atomic<size_t> total_bytes{0};
constexpr size_t kHugePage = size_t{2} << 20;

struct Buffer {
  void* data = nullptr;
  size_t bytes = 0;

  void release() {
    std::free(data);
    total_bytes -= bytes;
    data = nullptr;
    bytes = 0;
  }
  void grow(size_t wanted) {
    release();
    const size_t alignment = wanted >= kHugePage ? kHugePage : 64;
    const size_t rounded = (wanted + alignment - 1) / alignment * alignment;
    data = std::aligned_alloc(alignment, rounded);
    if (!data) throw std::bad_alloc();
    if (rounded >= kHugePage) madvise(data, rounded, MADV_HUGEPAGE);
    bytes = rounded;
    total_bytes += rounded;
  }
};

struct Buffers : std::array<Buffer, static_cast<size_t>(Scratch::kCount)> {
  ~Buffers() {
    for (Buffer& buffer : *this) buffer.release();
  }
};
thread_local Buffers buffers;

}  // namespace

void* scratch(Scratch which, size_t bytes) {
  Buffer& buffer = buffers[static_cast<size_t>(which)];
  if (buffer.bytes < bytes) buffer.grow(bytes);
  return buffer.data;
}

void release_scratch() {
  for (Buffer& buffer : buffers) buffer.release();
}

size_t scratch_bytes() {
  return total_bytes;
}

void keep_freed_memory() {
  mallopt(M_MMAP_THRESHOLD, 1 << 30);
  mallopt(M_TRIM_THRESHOLD, -1);
  mallopt(M_TOP_PAD, 16 << 20);
}

}  // namespace phalanx::ops::cpu
