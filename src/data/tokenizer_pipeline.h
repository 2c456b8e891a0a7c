#pragma once
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "data/decoder.h"
#include "data/normalizer.h"
#include "data/pre_tokenizer.h"
#include "data/token_model.h"
#include "data/tokenizer_added.h"
#include "data/tokenizer_spec.h"

namespace phalanx::data {

/// The parts of a tokenizer, in the order of tokenizer.json:
///
///     added tokens as written -> normalizers -> added tokens in normal form -> pre-tokenizers -> model
///     -> prefix and suffix of the post-processor;     back: decoder
///
/// A further kind of part is one file pair that its factory lists (normalizer.cpp, pre_tokenizer.cpp,
/// token_model.cpp, decoder.cpp).
class PipelineTokenizer : public Tokenizer {
 public:
  explicit PipelineTokenizer(TokenizerSpec spec);
  PipelineTokenizer(const PipelineTokenizer&) = delete;  // parts of it point into the spec
  PipelineTokenizer& operator=(const PipelineTokenizer&) = delete;

  std::vector<TokenId> encode(std::string_view text, SpecialText special) const override;
  Encoding encode_with_ranges(std::string_view text, SpecialText special) const override;
  std::vector<TokenId> encode_with_post_processor(std::string_view text) const override;

  std::string_view token_bytes(TokenId id) const override;
  std::string decode(const std::vector<TokenId>& ids, bool skip_special_tokens) const override;
  std::unique_ptr<DecodedStream> text_stream(bool skip_special_tokens) const override;

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
  Normalizers normalizers_;
  Decoder decoder_;
  std::vector<std::string> texts_;  // id -> what the decoder gets
  std::vector<std::string> bytes_;  // id -> what the token stands for
  std::unordered_map<std::string_view, TokenId> ids_;
  std::vector<bool> is_special_;
  AddedTokenMatcher raw_added_;
  AddedTokenMatcher normalized_added_;
  PreTokenizer pre_tokenizer_;
  std::unique_ptr<const TokenModel> model_;
  uint64_t fingerprint_;
};

/// xxh3 of all that decides ids and template.
uint64_t fingerprint_of(const TokenizerSpec& spec);

}  // namespace phalanx::data
