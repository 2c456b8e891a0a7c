#include "data/tokenizer_utf8.h"

#include <simdjson.h>

namespace phalanx::data {

namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

struct Step {
  size_t length;  // of the character, or of the maximal part of an ill-formed one
  bool valid;
  bool cut_off;  // ill-formed only because the text ends
};

Step next_step(std::string_view bytes) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(bytes[i]); };
  const uint8_t lead = byte(0);
  if (lead < 0x80) return {1, true, false};
  if (lead < 0xC2 || lead > 0xF4) return {1, false, false};
  const size_t length = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  uint8_t low = 0x80;
  uint8_t high = 0xBF;
  if (lead == 0xE0) low = 0xA0;   // overlong
  if (lead == 0xED) high = 0x9F;  // surrogates
  if (lead == 0xF0) low = 0x90;   // overlong
  if (lead == 0xF4) high = 0x8F;  // beyond U+10FFFF
  for (size_t i = 1; i < length; ++i) {
    if (i == bytes.size()) return {i, false, true};
    if (byte(i) < low || byte(i) > high) return {i, false, false};
    low = 0x80;
    high = 0xBF;
  }
  return {length, true, false};
}

}  // namespace

std::optional<size_t> first_invalid_utf8(std::string_view text) {
  if (simdjson::validate_utf8(text.data(), text.size())) return std::nullopt;
  size_t at = 0;
  while (at < text.size()) {
    const Step step = next_step(text.substr(at));
    if (!step.valid) break;
    at += step.length;
  }
  return at;
}

std::string to_valid_utf8(std::string_view bytes) {
  if (simdjson::validate_utf8(bytes.data(), bytes.size())) return std::string(bytes);
  std::string text;
  for (size_t at = 0; at < bytes.size();) {
    const Step step = next_step(bytes.substr(at));
    text += step.valid ? bytes.substr(at, step.length) : kReplacement;
    at += step.length;
  }
  return text;
}

size_t settled_utf8_bytes(std::string_view bytes) {
  // Only the last three bytes can be the beginning of something longer.
  size_t at = bytes.size() < 3 ? 0 : bytes.size() - 3;
  while (at < bytes.size() && (bytes[at] & 0xC0) == 0x80) ++at;
  for (; at < bytes.size();) {
    const Step step = next_step(bytes.substr(at));
    if (step.cut_off) return at;
    at += step.length;
  }
  return bytes.size();
}

}  // namespace phalanx::data
