#include "data/tokenizer.h"
#include "data/tokenizer_utf8.h"

namespace phalanx::data {

namespace {

/// Tokens that are bytes, whatever stands beside them.
class ByteStream : public DecodedStream {
 public:
  ByteStream(const Tokenizer& tokenizer, bool skip_special_tokens)
      : tokenizer_(tokenizer), skip_special_tokens_(skip_special_tokens) {}

  std::string push(TokenId id) override {
    if (skip_special_tokens_ && tokenizer_.is_special(id)) return {};
    pending_ += tokenizer_.token_bytes(id);
    const size_t settled = settled_utf8_bytes(pending_);
    std::string text = to_valid_utf8(std::string_view(pending_).substr(0, settled));
    pending_.erase(0, settled);
    return text;
  }

  std::string finish() override {
    std::string text = to_valid_utf8(pending_);
    pending_.clear();
    return text;
  }

 private:
  const Tokenizer& tokenizer_;
  bool skip_special_tokens_;
  std::string pending_;
};

}  // namespace

std::unique_ptr<DecodedStream> Tokenizer::text_stream(bool skip_special_tokens) const {
  return std::make_unique<ByteStream>(*this, skip_special_tokens);
}

}  // namespace phalanx::data
