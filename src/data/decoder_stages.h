#pragma once
#include <memory>
#include <vector>

#include "data/decoder.h"

namespace phalanx::data {

using DecoderStages = std::vector<std::unique_ptr<DecoderStage>>;

/// A stage that works on whole tokens.
class TokenStage : public DecoderStage {
 public:
  void push(std::string_view part, bool ends, const Next& next) final {
    token_ += part;
    if (!ends) return;
    token(std::exchange(token_, {}), next);
  }
  void finish(const Next& next) override {
    if (!token_.empty()) token(std::exchange(token_, {}), next);
  }

 protected:
  virtual void token(std::string token, const Next& next) = 0;

 private:
  std::string token_;
};

// Each of these appends the stage of its type of tokenizer.json.
void add_byte_level_decoder(const JsonValue& value, DecoderStages& stages);
void add_metaspace_decoder(const JsonValue& value, DecoderStages& stages);
void add_byte_fallback_decoder(const JsonValue& value, DecoderStages& stages);
void add_fuse_decoder(const JsonValue& value, DecoderStages& stages);
void add_strip_decoder(const JsonValue& value, DecoderStages& stages);
void add_replace_decoder(const JsonValue& value, DecoderStages& stages);
void add_wordpiece_decoder(const JsonValue& value, DecoderStages& stages);
void add_bpe_decoder(const JsonValue& value, DecoderStages& stages);
void add_ctc_decoder(const JsonValue& value, DecoderStages& stages);
/// Tokens with spaces between, where a tokenizer has no decoder.
std::unique_ptr<DecoderStage> make_space_join();

}  // namespace phalanx::data
