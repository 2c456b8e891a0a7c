#include "data/bpe_alphabet.h"

namespace phalanx::data {

namespace {

constexpr uint16_t kFirstShifted = 0x100;
constexpr size_t kNumShifted = 68;

constexpr bool is_itself(int byte) {
  return (byte > 32 && byte < 127) || (byte > 160 && byte != 173);
}

struct Alphabet {
  std::array<uint16_t, 256> character_of{};
  std::array<int16_t, kFirstShifted + kNumShifted> byte_of{};
};

constexpr Alphabet make_alphabet() {
  Alphabet alphabet;
  for (auto& byte : alphabet.byte_of) byte = -1;
  uint16_t next = kFirstShifted;
  for (int byte = 0; byte < 256; ++byte) {
    const uint16_t character = is_itself(byte) ? static_cast<uint16_t>(byte) : next++;
    alphabet.character_of[byte] = character;
    alphabet.byte_of[character] = static_cast<int16_t>(byte);
  }
  return alphabet;
}

constexpr Alphabet kAlphabet = make_alphabet();

}  // namespace

std::string to_byte_level(std::string_view bytes) {
  std::string text;
  text.reserve(bytes.size() + bytes.size() / 4);
  for (const char byte : bytes) {
    const uint16_t character = kAlphabet.character_of[static_cast<uint8_t>(byte)];
    if (character < 0x80) {
      text += static_cast<char>(character);
    } else {
      text += static_cast<char>(0xC0 | character >> 6);
      text += static_cast<char>(0x80 | (character & 0x3F));
    }
  }
  return text;
}

std::optional<std::string> from_byte_level(std::string_view text) {
  std::string bytes;
  bytes.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    uint32_t character = static_cast<uint8_t>(text[i]);
    if (character >= 0x80) {
      if ((character & 0xE0) != 0xC0 || i + 1 == text.size()) return std::nullopt;
      character = (character & 0x1F) << 6 | (static_cast<uint8_t>(text[++i]) & 0x3F);
    }
    if (character >= kAlphabet.byte_of.size() || kAlphabet.byte_of[character] < 0) return std::nullopt;
    bytes += static_cast<char>(kAlphabet.byte_of[character]);
  }
  return bytes;
}

}  // namespace phalanx::data
