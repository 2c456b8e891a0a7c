#include <xxhash.h>

#include <bit>
#include <memory>
#include <type_traits>

#include "data/tokenizer_pipeline.h"

namespace phalanx::data {

namespace {

// Raised when our splitting or merging changes for the same files: cached tokens of older programs are then
// not reused.
constexpr int kAlgorithmVersion = 2;

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
    for (const bool flag :
         {token.single_word, token.lstrip, token.rstrip, token.normalized, token.special, token.verbatim}) {
      hasher.add(flag);
    }
  }
}

void add_model(Hasher& hasher, const BpeModel& model) {
  hasher.add(model.merges.size());
  for (const Merge& merge : model.merges) {
    hasher.add(static_cast<int64_t>(merge.left) << 32 | merge.right);
    hasher.add(static_cast<int64_t>(merge.rank) << 32 | merge.result);
  }
  for (const bool flag : {model.ignore_merges, model.byte_fallback, model.fuse_unk}) hasher.add(flag);
  hasher.add(model.unk);
  hasher.add(std::string_view(model.continuing_subword_prefix));
  hasher.add(std::string_view(model.end_of_word_suffix));
  hasher.add(model.hidden.size());
  for (const std::string& character : model.hidden) hasher.add(std::string_view(character));
}

void add_model(Hasher& hasher, const UnigramModel& model) {
  hasher.add(model.scores.size());
  for (const double score : model.scores) hasher.add(std::bit_cast<int64_t>(score));
  hasher.add(std::bit_cast<int64_t>(model.unk_score));
  hasher.add(model.byte_fallback);
  hasher.add(model.single_precision);
  hasher.add(model.unk);
}

void add_model(Hasher& hasher, const WordPieceModel& model) {
  hasher.add(model.unk);
  hasher.add(std::string_view(model.continuing_subword_prefix));
  hasher.add(model.max_input_chars_per_word);
}

}  // namespace

uint64_t fingerprint_of(const TokenizerSpec& spec) {
  Hasher hasher;
  hasher.add(kAlgorithmVersion);
  hasher.add(spec.tokens.size());
  for (const std::string& token : spec.tokens) hasher.add(std::string_view(token));
  hasher.add(spec.first_model_token);
  hasher.add(spec.num_model_tokens);
  hasher.add(spec.model.index());
  std::visit([&](const auto& model) { add_model(hasher, model); }, spec.model);
  add_added_tokens(hasher, spec);
  for (const std::string* part : {&spec.normalizer, &spec.pre_tokenizer, &spec.decoder})
    hasher.add(std::string_view(*part));
  hasher.add(spec.prefix);
  hasher.add(spec.suffix);
  const SpecialTokens& special = spec.special_tokens;
  for (const auto& id : {special.bos, special.eos, special.pad, special.unk}) hasher.add(id);
  hasher.add(spec.stop_ids);
  hasher.add(std::string_view(spec.chat_template));
  return hasher.digest();
}

}  // namespace phalanx::data
