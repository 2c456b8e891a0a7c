#pragma once
#include <optional>
#include <string>
#include <string_view>

namespace phalanx::data {

/// The bytes of base64 text (RFC 4648, section 4, padding required), or nothing when it is none.
std::optional<std::string> from_base64(std::string_view text);
std::string to_base64(std::string_view bytes);

}  // namespace phalanx::data
