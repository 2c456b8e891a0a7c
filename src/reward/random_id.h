#pragma once
#include <string>

namespace phalanx::reward {

/// 128 bits of the operating system, as hexadecimal digits. @throws core::Error (70).
std::string random_id();

}  // namespace phalanx::reward
