#pragma once
#include <cstddef>
#include <cstdint>
#include <span>

namespace phalanx::core {

/// Of this process, from /proc/self; 0 where /proc is not there.
uint64_t current_rss_bytes();
uint64_t peak_rss_bytes();  ///< since the start or the last reset
void reset_peak_rss();      ///< does nothing where the kernel does not allow it

/// Of the machine, from /proc/meminfo, not more than the cgroup allows; 0 if unknown.
uint64_t total_memory_bytes();
uint64_t available_memory_bytes();

/// Reads what a mapped file has at `bytes` and maps it, in one call instead of a page fault every few pages
/// (Linux 5.14; without effect before, and on other memory). A file that became shorter is found by who
/// touches the bytes.
void map_now(std::span<const std::byte> bytes);

}  // namespace phalanx::core
