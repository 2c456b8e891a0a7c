#pragma once
#include <string>
#include <string_view>

#include "core/error.h"

namespace phalanx::reward {

/// The text with U+FFFD in place of each byte that belongs to no character.
inline std::string valid_utf8(std::string_view text) {
  std::string valid;
  while (!text.empty()) {
    const size_t length = core::utf8_length(text);
    valid += length == 0 ? std::string_view("\xEF\xBF\xBD") : text.substr(0, length);
    text.remove_prefix(length == 0 ? 1 : length);
  }
  return valid;
}

}  // namespace phalanx::reward
