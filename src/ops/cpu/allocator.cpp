#include "ops/cpu/allocator.h"

#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>
#include <sys/mman.h>

#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <new>
#include <set>
#include <unordered_map>

namespace phalanx::ops::cpu {
namespace {

constexpr size_t kSmall = 64 << 10;  // below, malloc: it keeps small blocks itself
constexpr size_t kGrain = 4 << 10;
constexpr size_t kHugePage = size_t{2} << 20;
constexpr size_t kRange = size_t{16} << 30;  // address space reserved at a time; costs nothing until touched

size_t round_up(size_t n, size_t to) {
  return (n + to - 1) / to * to;
}

class Arena {
 public:
  void* take(size_t bytes) {
    const std::lock_guard lock(mutex_);
    bytes = round_up(bytes, kGrain);
    auto hole = by_size_.lower_bound({bytes, nullptr});
    if (hole == by_size_.end()) {
      if (!reserve(bytes)) return nullptr;
      hole = by_size_.lower_bound({bytes, nullptr});
    }
    const auto [size, address] = *hole;
    remove_hole(by_address_.find(address));
    if (size > bytes) add_hole(address + bytes, size - bytes);
    live_.emplace(address, bytes);
    used_ += bytes;
    return address;
  }

  /// False if the block is not ours.
  bool give_back(void* block) {
    const std::lock_guard lock(mutex_);
    const auto found = live_.find(static_cast<char*>(block));
    if (found == live_.end()) return false;
    char* address = found->first;
    size_t size = found->second;
    live_.erase(found);
    used_ -= size;
    const auto next = by_address_.find(address + size);
    if (next != by_address_.end() && !ranges_.contains(next->first)) {
      size += next->second;
      remove_hole(next);
    }
    auto before = by_address_.lower_bound(address);
    if (before != by_address_.begin() && !ranges_.contains(address)) {
      --before;
      if (before->first + before->second == address) {
        address = before->first;
        size += before->second;
        remove_hole(before);
      }
    }
    add_hole(address, size);
    return true;
  }

  void release_holes() {
    const std::lock_guard lock(mutex_);
    for (const auto& [address, size] : by_address_) madvise(address, size, MADV_DONTNEED);
  }

  ArenaBytes bytes() {
    const std::lock_guard lock(mutex_);
    size_t held = 0;
    for (const auto& [begin, touched] : ranges_) held += touched;
    return {used_, held};
  }

 private:
  using Holes = std::map<char*, size_t>;

  bool reserve(size_t bytes) {
    for (const size_t wanted : {std::max(kRange, round_up(bytes, kHugePage)), round_up(bytes, kHugePage)}) {
      void* range =
          mmap(nullptr, wanted, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
      if (range == MAP_FAILED) continue;
      madvise(range, wanted, MADV_HUGEPAGE);
      ranges_.emplace(static_cast<char*>(range), 0);
      add_hole(static_cast<char*>(range), wanted);
      return true;
    }
    return false;
  }

  void add_hole(char* address, size_t size) {
    by_address_.emplace(address, size);
    by_size_.emplace(size, address);
    auto range = std::prev(ranges_.upper_bound(address));
    range->second = std::max(range->second, static_cast<size_t>(address - range->first));
  }
  void remove_hole(Holes::iterator hole) {
    by_size_.erase({hole->second, hole->first});
    by_address_.erase(hole);
  }

  std::mutex mutex_;
  Holes by_address_;
  std::set<std::pair<size_t, char*>> by_size_;  // of one size the lowest address first
  std::unordered_map<char*, size_t> live_;
  std::map<char*, size_t> ranges_;  // begin of each range, bytes up to its high-water mark
  size_t used_ = 0;
};

Arena& arena() {
  static Arena& arena = *new Arena;  // never destroyed: tensors in static objects may outlive everything
  return arena;
}

void release(void* block) {
  if (block && !arena().give_back(block)) std::free(block);
}

class TensorAllocator final : public c10::Allocator {
 public:
  c10::DataPtr allocate(size_t bytes) override {
    void* block = bytes >= kSmall ? arena().take(bytes) : nullptr;
    if (!block && bytes > 0) block = std::aligned_alloc(64, round_up(bytes, 64));
    if (!block && bytes > 0) throw std::bad_alloc();
    return {block, block, &release, c10::DeviceType::CPU};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &release; }
  void copy_data(void* to, const void* from, size_t bytes) const override { std::memcpy(to, from, bytes); }
};

}  // namespace

bool use_tensor_arena() {
#ifdef __SANITIZE_ADDRESS__
  return false;
#else
  static TensorAllocator allocator;
  c10::SetCPUAllocator(&allocator, /*priority=*/1);
  return true;
#endif
}

void release_unused_tensor_memory() {
  arena().release_holes();
}

ArenaBytes tensor_arena_bytes() {
  return arena().bytes();
}

}  // namespace phalanx::ops::cpu
