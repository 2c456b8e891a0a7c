#pragma once
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "data/tokenizer_spec.h"

namespace phalanx::data {

/// The byte that "<0x0A>" is written for.
std::optional<uint8_t> byte_of_token(std::string_view token);

/// "<0x0A>" of a byte.
std::string byte_token(uint8_t byte);

/// byte -> id of its token, -1 where the model of `spec` has none.
std::array<TokenId, 256> find_byte_tokens(const TokenizerSpec& spec);

}  // namespace phalanx::data
