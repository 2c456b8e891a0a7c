#include "data/unigram.h"

#include <algorithm>
#include <cmath>

#include "data/bpe_cache.h"
#include "data/byte_tokens.h"
#include "data/pre_tokenizer_tables.h"
#include "data/tokenizer_error.h"

namespace phalanx::data {

Unigram::Unigram(const TokenizerSpec& spec)
    : source_(spec.source),
      tokens_(spec.tokens.begin(), spec.tokens.begin() + spec.num_model_tokens),
      model_(std::get<UnigramModel>(spec.model)),
      byte_tokens_(find_byte_tokens(spec)),
      cache_owner_(WordCache::next_owner()) {
  for (size_t id = 0; id < tokens_.size(); ++id)
    if (std::isfinite(model_.scores[id]))
      ids_[tokens_[id]] = static_cast<TokenId>(id);  // the last of equal ones
  std::vector<std::pair<std::string, int32_t>> entries;
  for (const auto& [token, id] : ids_)
    if (!token.empty()) entries.emplace_back(token, id);
  trie_ = ByteTrie(std::move(entries));
}

void Unigram::encode(std::string_view text, const std::vector<Piece>& pieces, std::vector<TokenId>& ids,
                     std::vector<uint32_t>* lengths) const {
  const auto encode_one = [&](std::string_view word) {
    model_.single_precision ? encode_word<float>(word, ids, lengths)
                            : encode_word<double>(word, ids, lengths);
  };
  WordCache& cache = WordCache::of_this_thread();
  for (const Piece& piece : pieces) {
    if (lengths) {
      encode_one(text.substr(piece.begin, piece.end - piece.begin));
    } else {
      cache.encode(text, piece, cache_owner_, ids, encode_one);
    }
  }
}

template <typename Score>
void Unigram::encode_word(std::string_view word, std::vector<TokenId>& ids,
                          std::vector<uint32_t>* lengths) const {
  struct Node {  // the best way to get here
    Score score = 0;
    uint32_t begin = UINT32_MAX;
    TokenId token = -1;
  };
  constexpr TokenId kUnknown = -2;
  thread_local std::vector<Node> best;
  best.assign(word.size() + 1, {});
  const auto offer = [&](size_t begin, size_t end, Score score, TokenId token) {
    Node& node = best[end];
    const Score candidate = score + best[begin].score;
    if (node.begin == UINT32_MAX || candidate > node.score)
      node = {candidate, static_cast<uint32_t>(begin), token};
  };
  for (size_t at = 0; at < word.size();) {
    const char* p = word.data() + at;
    next_code_point(p);
    const auto character = static_cast<size_t>(p - word.data()) - at;
    bool has_character = false;
    trie_.for_each_prefix(word.substr(at), [&](size_t length, TokenId token) {
      offer(at, at + length, static_cast<Score>(model_.scores[static_cast<size_t>(token)]), token);
      has_character = has_character || length == character;
    });
    if (!has_character) offer(at, at + character, static_cast<Score>(model_.unk_score), kUnknown);
    at += character;
  }
  thread_local std::vector<uint32_t> ends;  // of the parts, the last first
  ends.clear();
  const auto is_unknown = [&](const Node& node) {
    return node.token == kUnknown || node.token == model_.unk;
  };
  for (uint32_t end = static_cast<uint32_t>(word.size()); end > 0;) {
    const Node* node = &best[end];
    ends.push_back(end);
    while (is_unknown(*node) && node->begin > 0 && is_unknown(best[node->begin])) node = &best[node->begin];
    end = node->begin;
  }
  uint32_t begin = 0;
  for (size_t i = ends.size(); i-- > 0; begin = ends[i])
    add(word.substr(begin, ends[i] - begin), ids, lengths);
}

void Unigram::add(std::string_view text, std::vector<TokenId>& ids, std::vector<uint32_t>* lengths) const {
  const auto put = [&](TokenId token, size_t length) {
    ids.push_back(token);
    if (lengths) lengths->push_back(static_cast<uint32_t>(length));
  };
  if (const auto found = ids_.find(text); found != ids_.end()) return put(found->second, text.size());
  const auto token_of = [&](char byte) { return byte_tokens_[static_cast<uint8_t>(byte)]; };
  if (model_.byte_fallback &&
      std::all_of(text.begin(), text.end(), [&](char b) { return token_of(b) >= 0; })) {
    for (const char byte : text) put(token_of(byte), 1);
  } else if (model_.unk) {
    put(*model_.unk, text.size());
  } else {
    fail_tokenizer(
        TokenizerErrorKind::kText,
        "{}: the vocabulary has no token for \"{}\", and no unk_id or byte_fallback; use a tokenizer that "
        "has one of them",
        source_, core::printable(text, 40));
  }
}

}  // namespace phalanx::data
