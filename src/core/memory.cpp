#include "core/memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <sstream>
#include <string>
#include <string_view>

namespace phalanx::core {

namespace {

/// The value in bytes of a line such as "VmRSS:     1234 kB".
uint64_t read_kb_line(const char* path, std::string_view name) {
  std::ifstream file(path);
  std::string line;
  while (std::getline(file, line)) {
    if (!line.starts_with(name)) continue;
    uint64_t kilobytes = 0;
    std::istringstream(line.substr(name.size())) >> kilobytes;
    return kilobytes * 1024;
  }
  return 0;
}

/// A limit or use of the cgroup (version 2); 0 if there is none.
uint64_t read_cgroup(const char* path) {
  std::ifstream file(path);
  uint64_t bytes = 0;
  return file >> bytes ? bytes : 0;  // "max" is no number
}

}  // namespace

uint64_t current_rss_bytes() {
  return read_kb_line("/proc/self/status", "VmRSS:");
}
uint64_t peak_rss_bytes() {
  return read_kb_line("/proc/self/status", "VmHWM:");
}

void reset_peak_rss() {
  std::ofstream("/proc/self/clear_refs") << "5\n";
}

uint64_t total_memory_bytes() {
  const uint64_t machine = read_kb_line("/proc/meminfo", "MemTotal:");
  const uint64_t limit = read_cgroup("/sys/fs/cgroup/memory.max");
  return limit == 0 ? machine : std::min(machine, limit);
}

uint64_t available_memory_bytes() {
  const uint64_t machine = read_kb_line("/proc/meminfo", "MemAvailable:");
  const uint64_t limit = read_cgroup("/sys/fs/cgroup/memory.max");
  const uint64_t used = read_cgroup("/sys/fs/cgroup/memory.current");
  return limit == 0 ? machine : std::min(machine, limit - std::min(limit, used));
}

void map_now(std::span<const std::byte> bytes) {
#ifdef MADV_POPULATE_READ
  const auto page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto begin = reinterpret_cast<uintptr_t>(bytes.data()) / page * page;
  const auto end = reinterpret_cast<uintptr_t>(bytes.data()) + bytes.size();
  if (end > begin) ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_POPULATE_READ);
#else
  (void)bytes;
#endif
}

}  // namespace phalanx::core
