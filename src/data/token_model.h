#pragma once
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "data/pre_tokenizer_scan.h"
#include "data/tokenizer_spec.h"

namespace phalanx::data {

/// What turns a piece of text into tokens. Immutable and safe to share between threads.
class TokenModel {
 public:
  virtual ~TokenModel() = default;

  /// Appends the ids of each piece of `text` to `ids` and, where `lengths` is given, the number of bytes of
  /// each: they add up to the piece's.
  /// @throws TokenizerError kText when a character has no token and the model no unknown token.
  virtual void encode(std::string_view text, const std::vector<Piece>& pieces, std::vector<TokenId>& ids,
                      std::vector<uint32_t>* lengths) const = 0;
};

/// The model of `spec`. @param on_bytes  does it get bytes, where its tokens are written in the byte-level
/// alphabet? (Else the text is in that alphabet too, or there is none.)
std::unique_ptr<const TokenModel> make_token_model(const TokenizerSpec& spec, bool on_bytes);

/// Can the model of `spec` work on bytes?
bool can_work_on_bytes(const TokenizerSpec& spec);

}  // namespace phalanx::data
