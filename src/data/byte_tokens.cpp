#include "data/byte_tokens.h"

#include <fmt/core.h>

namespace phalanx::data {

namespace {

int hex_digit(char c) {
  return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

}  // namespace

std::optional<uint8_t> byte_of_token(std::string_view token) {
  if (token.size() != 6 || !token.starts_with("<0x") || token.back() != '>') return std::nullopt;
  const int high = hex_digit(token[3]);
  const int low = hex_digit(token[4]);
  if (high < 0 || low < 0) return std::nullopt;
  return static_cast<uint8_t>(high << 4 | low);
}

std::string byte_token(uint8_t byte) {
  return fmt::format("<0x{:02X}>", byte);
}

std::array<TokenId, 256> find_byte_tokens(const TokenizerSpec& spec) {
  std::array<TokenId, 256> ids;
  ids.fill(-1);
  for (int64_t id = 0; id < spec.num_model_tokens; ++id) {
    if (const auto byte = byte_of_token(spec.tokens[static_cast<size_t>(id)]))
      ids[*byte] = static_cast<TokenId>(id);
  }
  return ids;
}

}  // namespace phalanx::data
