#include <xxhash.h>

#include <memory>
#include <type_traits>

#include "data/tokenizer_bpe.h"

namespace phalanx::data {

namespace {

// Raised when our splitting or merging changes for the same files: cached tokens of older programs are then
// not reused.
constexpr int kAlgorithmVersion = 1;

class Hasher {
 public:
  Hasher() : state_(XXH3_createState(), &XXH3_freeState) { XXH3_64bits_reset(state_.get()); }

  template <typename Number>
  void add(Number value) requires(std::is_arithmetic_v<Number> || std::is_enum_v<Number>) {
    const auto wide = static_cast<int64_t>(value);
    XXH3_64bits_update(state_.get(), &wide, sizeof wide);
  }
  void add(std::string_view text) {
    add(text.size());
    XXH3_64bits_update(state_.get(), text.data(), text.size());
  }
  void add(const std::optional<TokenId>& id) { add(id.value_or(-1)); }
  void add(const std::vector<TokenId>& ids) {
    add(ids.size());
    for (const TokenId id : ids) add(id);
  }
  uint64_t digest() const { return XXH3_64bits_digest(state_.get()); }

 private:
  std::unique_ptr<XXH3_state_t, decltype(&XXH3_freeState)> state_;
};

void add_added_tokens(Hasher& hasher, const TokenizerSpec& spec) {
  hasher.add(spec.added_tokens.size());
  for (const AddedToken& token : spec.added_tokens) {
    hasher.add(token.id);
    hasher.add(std::string_view(token.content));
    for (const bool flag : {token.single_word, token.lstrip, token.rstrip, token.normalized, token.special}) {
      hasher.add(flag);
    }
  }
}

void add_pre_tokenizer(Hasher& hasher, const TokenizerSpec& spec) {
  hasher.add(spec.pre_tokenizer.size());
  for (const PreTokenizerStep& step : spec.pre_tokenizer) {
    hasher.add(step.kind);
    hasher.add(std::string_view(step.pattern));
    hasher.add(step.behavior);
    for (const bool flag : {step.pattern_is_regex, step.invert, step.individual_digits, step.add_prefix_space,
                            step.use_regex}) {
      hasher.add(flag);
    }
  }
}

}  // namespace

uint64_t fingerprint_of(const TokenizerSpec& spec) {
  Hasher hasher;
  hasher.add(kAlgorithmVersion);
  hasher.add(spec.tokens.size());
  for (const std::string& token : spec.tokens) hasher.add(std::string_view(token));
  hasher.add(spec.num_model_tokens);
  hasher.add(spec.merges.size());
  for (const Merge& merge : spec.merges) {
    hasher.add(static_cast<int64_t>(merge.left) << 32 | merge.right);
  }
  hasher.add(spec.ignore_merges);
  hasher.add(spec.fuse_unk);
  hasher.add(spec.normalize_nfc);
  hasher.add(spec.model_unk);
  add_added_tokens(hasher, spec);
  add_pre_tokenizer(hasher, spec);
  hasher.add(spec.prefix);
  hasher.add(spec.suffix);
  const SpecialTokens& special = spec.special_tokens;
  for (const auto& id : {special.bos, special.eos, special.pad, special.unk}) hasher.add(id);
  hasher.add(spec.stop_ids);
  hasher.add(std::string_view(spec.chat_template));
  return hasher.digest();
}

}  // namespace phalanx::data
