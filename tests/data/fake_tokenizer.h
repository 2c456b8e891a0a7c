#pragma once
#include <string>
#include <utility>
#include <vector>

#include "data/tokenizer.h"

namespace phalanx::data {

/// One token per byte (id 256 is not used), and a control token for each of `special`: ids 300, 301, ...
/// The first special text is BOS, the last is EOS; those that look like the end of a turn are stop tokens.
class FakeTokenizer : public Tokenizer {
 public:
  explicit FakeTokenizer(std::vector<std::string> special, bool adds_bos = false)
      : special_(std::move(special)), adds_bos_(adds_bos) {
    for (int byte = 0; byte < 256; ++byte) bytes_.emplace_back(1, static_cast<char>(byte));
    tokens_.bos = kFirstSpecial;
    tokens_.eos = kFirstSpecial + static_cast<TokenId>(special_.size()) - 1;
    stop_ids_.push_back(*tokens_.eos);
    for (const char* name : {"<|im_end|>", "<|eot_id|>"}) {
      const auto id = token_to_id(name);
      if (id && *id != *tokens_.eos) stop_ids_.push_back(*id);
    }
  }

  std::vector<TokenId> encode(std::string_view text, SpecialText special) const override {
    return encode_with_ranges(text, special).ids;
  }
  Encoding encode_with_ranges(std::string_view text, SpecialText special) const override {
    Encoding encoding;
    for (size_t at = 0; at < text.size();) {
      const size_t i = special == SpecialText::kParse ? match(text.substr(at)) : special_.size();
      const size_t length = i < special_.size() ? special_[i].size() : 1;
      encoding.ids.push_back(i < special_.size() ? kFirstSpecial + static_cast<TokenId>(i)
                                                 : static_cast<unsigned char>(text[at]));
      encoding.byte_ranges.emplace_back(at, at + length);
      at += length;
    }
    return encoding;
  }
  std::vector<TokenId> encode_with_post_processor(std::string_view text) const override {
    std::vector<TokenId> ids = encode(text, SpecialText::kParse);
    if (adds_bos_) ids.insert(ids.begin(), *tokens_.bos);
    return ids;
  }

  std::string_view token_bytes(TokenId id) const override {
    return is_special(id) ? special_[static_cast<size_t>(id - kFirstSpecial)]
           : id < 256     ? bytes_[static_cast<size_t>(id)]
                          : empty_;
  }
  std::string decode(const std::vector<TokenId>& ids, bool skip_special_tokens) const override {
    std::string text;
    for (const TokenId id : ids) {
      if (!skip_special_tokens || !is_special(id)) text += token_bytes(id);
    }
    return text;
  }
  int64_t vocab_size() const override { return kFirstSpecial + static_cast<int64_t>(special_.size()); }
  std::optional<TokenId> token_to_id(std::string_view token) const override {
    for (size_t i = 0; i < special_.size(); ++i) {
      if (special_[i] == token) return kFirstSpecial + static_cast<TokenId>(i);
    }
    return std::nullopt;
  }
  bool is_special(TokenId id) const override { return id >= kFirstSpecial && id < vocab_size(); }
  const SpecialTokens& special_tokens() const override { return tokens_; }
  const std::vector<TokenId>& stop_ids() const override { return stop_ids_; }
  const std::string& chat_template() const override { return empty_; }
  uint64_t fingerprint() const override { return special_.size() * 2 + (adds_bos_ ? 1 : 0); }
  void save_hf(const std::string&) const override {}

 private:
  static constexpr TokenId kFirstSpecial = 300;
  size_t match(std::string_view text) const {
    for (size_t i = 0; i < special_.size(); ++i) {
      if (text.starts_with(special_[i])) return i;
    }
    return special_.size();
  }

  std::vector<std::string> special_, bytes_;
  std::string empty_;
  bool adds_bos_;
  SpecialTokens tokens_;
  std::vector<TokenId> stop_ids_;
};

inline FakeTokenizer chatml_tokenizer() {
  return FakeTokenizer({"<|im_start|>", "<|endoftext|>", "<|im_end|>"});
}
inline FakeTokenizer llama3_tokenizer() {
  return FakeTokenizer(
      {"<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|end_of_text|>"},
      true);
}

}  // namespace phalanx::data
