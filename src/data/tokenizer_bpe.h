#pragma once
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "data/bpe.h"
#include "data/pre_tokenizer.h"
#include "data/tokenizer_added.h"
#include "data/tokenizer_spec.h"

namespace phalanx::data {

/// Added tokens, normalizer, pre-tokenizer and byte-level BPE in the order of tokenizer.json.
class BpeTokenizer : public Tokenizer {
 public:
  explicit BpeTokenizer(TokenizerSpec spec);
  BpeTokenizer(const BpeTokenizer&) = delete;  // parts of it point into the spec
  BpeTokenizer& operator=(const BpeTokenizer&) = delete;

  std::vector<TokenId> encode(std::string_view text, SpecialText special) const override;
  Encoding encode_with_ranges(std::string_view text, SpecialText special) const override;
  std::vector<TokenId> encode_with_post_processor(std::string_view text) const override;

  std::string_view token_bytes(TokenId id) const override;
  std::string decode(const std::vector<TokenId>& ids, bool skip_special_tokens) const override;

  int64_t vocab_size() const override { return static_cast<int64_t>(spec_.tokens.size()); }
  std::optional<TokenId> token_to_id(std::string_view token) const override;
  bool is_special(TokenId id) const override;
  const SpecialTokens& special_tokens() const override { return spec_.special_tokens; }
  const std::vector<TokenId>& stop_ids() const override { return spec_.stop_ids; }
  const std::string& chat_template() const override { return spec_.chat_template; }
  uint64_t fingerprint() const override { return fingerprint_; }
  void save_hf(const std::string& folder) const override;

 private:
  struct Sink;  // where ids and ranges go

  void check_text(std::string_view text) const;
  void encode_text(std::string_view text, SpecialText special, Sink& sink) const;
  void encode_raw(std::string_view text, SpecialText special, Sink& sink) const;
  void encode_normalized(std::string_view text, SpecialText special, Sink& sink) const;
  void encode_plain(std::string_view text, Sink& sink) const;
  bool knows(TokenId id) const { return id >= 0 && static_cast<size_t>(id) < spec_.tokens.size(); }

  TokenizerSpec spec_;
  std::vector<std::string> bytes_;  // id -> what the token decodes to
  std::unordered_map<std::string_view, TokenId> ids_;
  std::vector<bool> is_special_;
  AddedTokenMatcher raw_added_;
  AddedTokenMatcher normalized_added_;
  PreTokenizer pre_tokenizer_;
  Bpe bpe_;
  uint64_t fingerprint_;
};

/// xxh3 of all that decides ids and template.
uint64_t fingerprint_of(const TokenizerSpec& spec);

}  // namespace phalanx::data
