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

/// Starts reading ahead what a mapped file has at `bytes`; without effect on other memory.
void will_need(std::span<const std::byte> bytes);

}  // namespace phalanx::core
