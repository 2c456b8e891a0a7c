#pragma once
#include <optional>
#include <string>
#include <string_view>

namespace phalanx::data {

/// Place of the first byte that is not valid UTF-8, if any.
std::optional<size_t> first_invalid_utf8(std::string_view text);

/// `bytes` with each maximal part of an ill-formed sequence replaced by U+FFFD (as Rust's from_utf8_lossy and
/// the Unicode standard, section 3.9, do).
std::string to_valid_utf8(std::string_view bytes);

/// Length of the beginning of `bytes` that cannot change any more when further bytes follow.
size_t settled_utf8_bytes(std::string_view bytes);

}  // namespace phalanx::data
