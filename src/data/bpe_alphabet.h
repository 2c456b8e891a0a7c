#pragma once
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace phalanx::data {

/// The alphabet of byte-level BPE: bytes 33-126, 161-172 and 174-255 are written as the character of that
/// number, the other 68, in increasing order, as U+0100, U+0101, ... A space is therefore written U+0120, a
/// newline U+010A.
std::string to_byte_level(std::string_view bytes);

/// The bytes that `text` stands for, or nothing when a character is not in the alphabet.
std::optional<std::string> from_byte_level(std::string_view text);

}  // namespace phalanx::data
