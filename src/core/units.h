#pragma once
#include <cstdint>
#include <string>

namespace phalanx::core {

std::string format_bytes(uint64_t bytes);  ///< "512 B", "1.5 KiB", "12 MiB": three digits at most after 999 B
std::string format_duration(double seconds);  ///< "0.4 s", "12 s", "3:05", "2:03:05"
std::string format_rate(double per_second);   ///< "9.8", "1234", "56.7k", "1.2M"

}  // namespace phalanx::core
