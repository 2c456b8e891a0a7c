#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace phalanx::formats {
class GgufFile;
}

namespace phalanx::data {

using TokenId = int32_t;

struct SpecialTokens {
  std::optional<TokenId> bos, eos, pad, unk;
};

/// Text in the making: pieces of whole UTF-8 characters that nothing to come can change.
class DecodedStream {
 public:
  virtual ~DecodedStream() = default;
  virtual std::string push(TokenId id) = 0;
  virtual std::string finish() = 0;
};

enum class SpecialText {
  kParse,
  kLiteral
};  ///< is "<|im_end|>" inside text the control token, or plain characters?

/// Text <-> token ids, byte for byte as the reference library (Hugging Face tokenizers 0.23) does it.
/// Immutable after construction and safe to share between threads.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  /// ids of `text` (valid UTF-8, else core::Error). No BOS or EOS is added.
  virtual std::vector<TokenId> encode(std::string_view text,
                                      SpecialText special = SpecialText::kParse) const = 0;
  /// As encode, and with each token the half-open byte range of `text` that it covers.
  struct Encoding {
    std::vector<TokenId> ids;
    std::vector<std::pair<uint32_t, uint32_t>> byte_ranges;
  };
  virtual Encoding encode_with_ranges(std::string_view text,
                                      SpecialText special = SpecialText::kParse) const = 0;
  /// As encode, through the tokenizer's post-processor (adds BOS/EOS where tokenizer.json or add_bos_token
  /// says so).
  virtual std::vector<TokenId> encode_with_post_processor(std::string_view text) const = 0;

  /// The bytes of one token (for control tokens their text). Joined over ids they are the decoded text of a
  /// byte-level tokenizer; others also look at what stands beside a token (the first space of a text, say).
  virtual std::string_view token_bytes(TokenId id) const = 0;
  virtual std::string decode(const std::vector<TokenId>& ids, bool skip_special_tokens) const = 0;
  /// All that it gives, joined, is decode() of all that it got. Must not outlive the tokenizer.
  virtual std::unique_ptr<DecodedStream> text_stream(bool skip_special_tokens) const;

  virtual int64_t vocab_size() const = 0;
  virtual std::optional<TokenId> token_to_id(std::string_view token) const = 0;
  virtual bool is_special(TokenId id) const = 0;
  virtual const SpecialTokens& special_tokens() const = 0;
  /// End-of-generation ids: eos and the template's turn end (<|im_end|>, <|eot_id|>) where the vocabulary has
  /// one.
  virtual const std::vector<TokenId>& stop_ids() const = 0;
  virtual const std::string& chat_template() const = 0;  ///< Jinja source, empty if none
  /// xxh3 of everything that decides ids and template: part of the token cache's key.
  virtual uint64_t fingerprint() const = 0;

  /// The files of a Hugging Face folder: tokenizer.json, tokenizer_config.json, chat_template.jinja.
  virtual void save_hf(const std::string& folder) const = 0;
};

/// The tokenizer of a folder: tokenizer.json (+ tokenizer_config.json, chat_template.jinja,
/// generation_config.json where present), else tokenizer.model, tekken.json or one *.tiktoken file with the
/// same files beside it.
std::shared_ptr<const Tokenizer> load_hf_tokenizer(const std::string& folder);
/// One tokenizer file: tokenizer.json, a SentencePiece model, tekken.json or a tiktoken file, told apart by
/// its first bytes. What stands beside it is not read.
std::shared_ptr<const Tokenizer> load_tokenizer_file(const std::string& path);
/// Does `folder` hold a file that load_hf_tokenizer reads?
bool holds_tokenizer(const std::string& folder);
/// Builds the tokenizer from the `tokenizer.ggml.*` keys of a GGUF file: model "gpt2" (pre gpt-2, smollm,
/// llama-bpe, qwen2) and model "llama" (SentencePiece BPE).
std::shared_ptr<const Tokenizer> load_gguf_tokenizer(const formats::GgufFile& file);

/// Turns a stream of ids into text whose pieces are always whole UTF-8 characters: what a later token can
/// still change is held back; invalid bytes come out as U+FFFD.
class StreamDecoder {
 public:
  explicit StreamDecoder(const Tokenizer& tokenizer, bool skip_special_tokens = true)
      : stream_(tokenizer.text_stream(skip_special_tokens)) {}
  std::string push(TokenId id) { return stream_->push(id); }
  std::string finish() { return stream_->finish(); }

 private:
  std::unique_ptr<DecodedStream> stream_;
};

}  // namespace phalanx::data
