#include "data/wordpiece.h"

#include <algorithm>

#include "data/bpe_cache.h"

namespace phalanx::data {

WordPiece::WordPiece(const TokenizerSpec& spec) : cache_owner_(WordCache::next_owner()) {
  const auto& model = std::get<WordPieceModel>(spec.model);
  unk_ = model.unk;
  max_characters_ = model.max_input_chars_per_word;
  std::vector<std::pair<std::string, int32_t>> first, inside;
  const std::string& prefix = model.continuing_subword_prefix;
  for (int32_t id = 0; id < spec.num_model_tokens; ++id) {
    const std::string& token = spec.tokens[static_cast<size_t>(id)];
    if (!token.empty()) first.emplace_back(token, id);
    if (token.size() > prefix.size() && token.starts_with(prefix))
      inside.emplace_back(token.substr(prefix.size()), id);
  }
  first_ = ByteTrie(std::move(first));
  inside_ = ByteTrie(std::move(inside));
}

void WordPiece::encode(std::string_view text, const std::vector<Piece>& pieces, std::vector<TokenId>& ids,
                       std::vector<uint32_t>* lengths) const {
  WordCache& cache = WordCache::of_this_thread();
  for (const Piece& piece : pieces) {
    if (lengths) {
      encode_word(text.substr(piece.begin, piece.end - piece.begin), ids, lengths);
    } else {
      cache.encode(text, piece, cache_owner_, ids,
                   [&](std::string_view word) { encode_word(word, ids, nullptr); });
    }
  }
}

void WordPiece::encode_word(std::string_view word, std::vector<TokenId>& ids,
                            std::vector<uint32_t>* lengths) const {
  const size_t first_id = ids.size();
  const size_t first_length = lengths ? lengths->size() : 0;
  const auto num_characters =
      std::count_if(word.begin(), word.end(), [](char c) { return (c & 0xC0) != 0x80; });
  bool covered = static_cast<size_t>(num_characters) <= max_characters_;
  for (size_t at = 0; covered && at < word.size();) {
    TokenId token = -1;
    size_t longest = 0;
    (at == 0 ? first_ : inside_).for_each_prefix(word.substr(at), [&](size_t length, TokenId id) {
      longest = length;
      token = id;
    });
    covered = token >= 0;
    if (!covered) break;
    ids.push_back(token);
    if (lengths) lengths->push_back(static_cast<uint32_t>(longest));
    at += longest;
  }
  if (covered) return;
  ids.resize(first_id);
  ids.push_back(unk_);
  if (!lengths) return;
  lengths->resize(first_length);
  lengths->push_back(static_cast<uint32_t>(word.size()));
}

}  // namespace phalanx::data
