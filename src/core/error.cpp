#include "core/error.h"

#include <fmt/format.h>

#include <cstdint>

namespace phalanx::core {

namespace {

constexpr std::string_view kEllipsis = "\u2026";

bool in_range(unsigned char byte, unsigned char low, unsigned char high) {
  return byte >= low && byte <= high;
}

/// Characters that a terminal would act on, or that reorder the rest of the line.
bool is_control(std::string_view character) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(character[i]); };
  if (character.size() == 1) return byte(0) < 0x20 || byte(0) == 0x7f;
  if (character.size() == 2) return byte(0) == 0xc2 && byte(1) < 0xa0;  // U+0080 .. U+009F
  if (character.size() != 3 || byte(0) != 0xe2) return false;
  const int low = (byte(1) << 8) | byte(2);
  return (low >= 0x808e && low <= 0x808f) ||  // U+200E, U+200F: direction marks
         (low >= 0x80a8 && low <= 0x80ae) ||  // U+2028 .. U+202E: line ends, embeddings, overrides
         (low >= 0x81a6 && low <= 0x81a9);    // U+2066 .. U+2069: isolates
}

std::string escape(std::string_view bytes) {
  if (bytes == "\n") return "\\n";
  if (bytes == "\r") return "\\r";
  if (bytes == "\t") return "\\t";
  std::string escaped;
  for (const char byte : bytes) escaped += fmt::format("\\x{:02x}", static_cast<unsigned char>(byte));
  return escaped;
}

}  // namespace

size_t utf8_length(std::string_view text) {
  if (text.empty()) return 0;
  const auto byte = [&](size_t i) {
    return i < text.size() ? static_cast<unsigned char>(text[i]) : uint8_t{0};
  };
  const unsigned char lead = byte(0);
  if (lead < 0x80) return 1;
  if (in_range(lead, 0xc2, 0xdf)) return in_range(byte(1), 0x80, 0xbf) ? 2 : 0;
  if (!in_range(byte(2), 0x80, 0xbf)) return 0;
  if (in_range(lead, 0xe0, 0xef)) {
    const unsigned char low = lead == 0xe0 ? 0xa0 : 0x80;   // overlong
    const unsigned char high = lead == 0xed ? 0x9f : 0xbf;  // surrogates
    return in_range(byte(1), low, high) ? 3 : 0;
  }
  if (!in_range(lead, 0xf0, 0xf4) || !in_range(byte(3), 0x80, 0xbf)) return 0;
  const unsigned char low = lead == 0xf0 ? 0x90 : 0x80;
  const unsigned char high = lead == 0xf4 ? 0x8f : 0xbf;  // beyond U+10FFFF
  return in_range(byte(1), low, high) ? 4 : 0;
}

std::string printable(std::string_view text, size_t max_bytes) {
  std::string line;
  size_t place = 0, cut = 0;  // cut: bytes of the line that leave room for the ellipsis
  while (place < text.size()) {
    const size_t length = utf8_length(text.substr(place));
    const std::string_view bytes = text.substr(place, length == 0 ? 1 : length);
    line += length == 0 || is_control(bytes) ? escape(bytes) : std::string(bytes);
    if (line.size() > max_bytes) return line.substr(0, cut) + std::string(kEllipsis);
    if (line.size() + kEllipsis.size() <= max_bytes) cut = line.size();
    place += bytes.size();
  }
  return line;
}

}  // namespace phalanx::core
