#include "data/token_model.h"

#include "data/bpe.h"
#include "data/bpe_characters.h"
#include "data/unigram.h"
#include "data/wordpiece.h"

namespace phalanx::data {

bool can_work_on_bytes(const TokenizerSpec& spec) {
  const auto* bpe = std::get_if<BpeModel>(&spec.model);
  return bpe && bpe->continuing_subword_prefix.empty() && bpe->end_of_word_suffix.empty() &&
         bpe->hidden.empty();
}

std::unique_ptr<const TokenModel> make_token_model(const TokenizerSpec& spec, bool on_bytes) {
  if (on_bytes) return std::make_unique<Bpe>(spec);
  if (std::holds_alternative<UnigramModel>(spec.model)) return std::make_unique<Unigram>(spec);
  if (std::holds_alternative<WordPieceModel>(spec.model)) return std::make_unique<WordPiece>(spec);
  return std::make_unique<CharacterBpe>(spec);
}

}  // namespace phalanx::data
