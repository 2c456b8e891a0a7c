#include "data/bpe.h"

#include <algorithm>

#include "data/bpe_alphabet.h"
#include "data/bpe_cache.h"
#include "data/bpe_symbols.h"
#include "data/tokenizer_error.h"

namespace phalanx::data {

namespace {

constexpr uint32_t kNoRank = UINT32_MAX;
constexpr size_t kShortBytes = 40;  // up to here a linear search for the lowest rank is faster than a heap

uint8_t front_byte(std::string_view bytes) {
  return static_cast<uint8_t>(bytes.front());
}
uint8_t back_byte(std::string_view bytes) {
  return static_cast<uint8_t>(bytes.back());
}

}  // namespace

Bpe::Bpe(const TokenizerSpec& spec)
    : source_(spec.source),
      merges_(std::get<BpeModel>(spec.model).merges),
      byte_pair_ranks_(65536, kNoRank),
      unk_(std::get<BpeModel>(spec.model).unk),
      fuse_unk_(std::get<BpeModel>(spec.model).fuse_unk),
      cache_owner_(WordCache::next_owner()) {
  const auto& model = std::get<BpeModel>(spec.model);
  std::vector<size_t> ends;
  for (size_t id = 0; id < static_cast<size_t>(spec.num_model_tokens); ++id) {
    if (static_cast<int64_t>(id) >= spec.first_model_token)
      all_bytes_ += from_byte_level(spec.tokens[id]).value_or("");
    ends.push_back(all_bytes_.size());
  }
  for (size_t id = 0; id < ends.size(); ++id) {
    const size_t begin = id == 0 ? 0 : ends[id - 1];
    token_bytes_.push_back(std::string_view(all_bytes_).substr(begin, ends[id] - begin));
  }
  byte_tokens_.fill(-1);
  for (int64_t id = 0; id < spec.num_model_tokens; ++id) {
    const std::string_view bytes = token_bytes_[static_cast<size_t>(id)];
    if (bytes.size() == 1) byte_tokens_[front_byte(bytes)] = static_cast<TokenId>(id);
    if (model.ignore_merges && !bytes.empty()) whole_.emplace(bytes, static_cast<TokenId>(id));
  }
  every_byte_has_token_ = std::find(byte_tokens_.begin(), byte_tokens_.end(), -1) == byte_tokens_.end();
  for (const Merge& merge : model.merges) {
    const std::string_view left = token_bytes_[static_cast<size_t>(merge.left)];
    const std::string_view right = token_bytes_[static_cast<size_t>(merge.right)];
    if (merge.rank >= results_.size()) results_.resize(merge.rank + 1, -1);
    results_[merge.rank] = merge.result;
    if (left.empty() || right.empty()) continue;  // outside the alphabet: no text reaches it
    may_touch_.set(pair_index(back_byte(left), front_byte(right)));
  }
  for (int left = 0; left < 256; ++left) {
    for (int right = 0; right < 256; ++right) {
      const auto* merge = merges_.find(byte_tokens_[left], byte_tokens_[right]);
      if (byte_tokens_[left] < 0 || byte_tokens_[right] < 0 || merge == nullptr) continue;
      byte_pair_ranks_[pair_index(static_cast<uint8_t>(left), static_cast<uint8_t>(right))] = merge->rank;
    }
  }
}

void Bpe::encode(std::string_view text, const std::vector<Piece>& pieces, std::vector<TokenId>& ids,
                 std::vector<uint32_t>* lengths) const {
  WordCache& cache = WordCache::of_this_thread();
  for (const Piece& piece : pieces) {
    const std::string_view word = text.substr(piece.begin, piece.end - piece.begin);
    if (!every_byte_has_token_) {  // an unknown token has no length of its own
      encode_word(word, ids, lengths);
      continue;
    }
    const size_t first = ids.size();
    cache.encode(text, piece, cache_owner_, ids, [&](std::string_view w) { encode_word(w, ids, nullptr); });
    push_lengths(ids, first, lengths);
  }
}

void Bpe::encode_word(std::string_view word, std::vector<TokenId>& ids,
                      std::vector<uint32_t>* lengths) const {
  if (!whole_.empty()) {
    if (const auto found = whole_.find(word); found != whole_.end()) {
      ids.push_back(found->second);
      if (lengths) lengths->push_back(static_cast<uint32_t>(word.size()));
      return;
    }
  }
  merge_piece(word, ids, lengths);
}

// No merge reaches over a byte pair that no merge joins, so the parts between such pairs are independent.
// This keeps long runs of Chinese or of signs short.
void Bpe::merge_piece(std::string_view piece, std::vector<TokenId>& ids,
                      std::vector<uint32_t>* lengths) const {
  size_t begin = 0;
  while (begin < piece.size()) {
    if (!every_byte_has_token_ && byte_tokens_[static_cast<uint8_t>(piece[begin])] < 0) {
      begin = unknown_run(piece, begin, ids, lengths);
      continue;
    }
    size_t end = begin + 1;
    while (end < piece.size() &&
           may_touch_[pair_index(static_cast<uint8_t>(piece[end - 1]), static_cast<uint8_t>(piece[end]))]) {
      ++end;
    }
    const size_t first = ids.size();
    merge_part(piece.substr(begin, end - begin), ids);
    push_lengths(ids, first, lengths);
    begin = end;
  }
}

void Bpe::merge_part(std::string_view part, std::vector<TokenId>& ids) const {
  if (part.size() == 1) return ids.push_back(byte_tokens_[front_byte(part)]);
  return part.size() <= kShortBytes ? merge_short(part, ids) : merge_long(part, ids);
}

void Bpe::merge_short(std::string_view part, std::vector<TokenId>& ids) const {
  TokenId tokens[kShortBytes];
  uint32_t ranks[kShortBytes];  // of the merge of tokens i and i + 1
  size_t count = part.size();
  for (size_t i = 0; i < count; ++i) tokens[i] = byte_tokens_[static_cast<uint8_t>(part[i])];
  for (size_t i = 0; i + 1 < count; ++i) {
    ranks[i] = byte_pair_ranks_[pair_index(static_cast<uint8_t>(part[i]), static_cast<uint8_t>(part[i + 1]))];
  }
  ranks[count - 1] = kNoRank;
  const auto rank_at = [&](size_t i) {
    const auto* merge = merges_.find(tokens[i], tokens[i + 1]);
    return merge ? merge->rank : kNoRank;
  };
  while (true) {
    size_t best = 0;
    for (size_t i = 1; i + 1 < count; ++i) {
      if (ranks[i] < ranks[best]) best = i;
    }
    if (ranks[best] == kNoRank) break;
    tokens[best] = results_[ranks[best]];
    --count;
    std::copy(tokens + best + 2, tokens + count + 1, tokens + best + 1);
    std::copy(ranks + best + 1, ranks + count + 1, ranks + best);
    if (best + 1 < count) ranks[best] = rank_at(best);
    if (best > 0) ranks[best - 1] = rank_at(best - 1);
  }
  ids.insert(ids.end(), tokens, tokens + count);
}

void Bpe::merge_long(std::string_view part, std::vector<TokenId>& ids) const {
  thread_local BpeSymbols symbols;
  symbols.clear();
  for (const char byte : part) symbols.add(byte_tokens_[static_cast<uint8_t>(byte)], 1);
  symbols.merge(merges_);
  symbols.for_each([&](TokenId token, uint32_t /*length*/) { ids.push_back(token); });
}

// Bytes without a token; the reference drops them silently where the model has no unk_token.
size_t Bpe::unknown_run(std::string_view piece, size_t at, std::vector<TokenId>& ids,
                        std::vector<uint32_t>* lengths) const {
  if (!unk_) {
    fail_tokenizer(
        TokenizerErrorKind::kText,
        "{}: the vocabulary has no token for the byte 0x{:02x} of \"{}\", and no unk_token; use a tokenizer "
        "with all 256 bytes",
        source_, static_cast<uint8_t>(piece[at]), core::printable(piece, 40));
  }
  size_t end = at + 1;
  while (fuse_unk_ && end < piece.size() && byte_tokens_[static_cast<uint8_t>(piece[end])] < 0) ++end;
  ids.push_back(*unk_);
  if (lengths) lengths->push_back(static_cast<uint32_t>(end - at));
  return end;
}

void Bpe::push_lengths(const std::vector<TokenId>& ids, size_t from, std::vector<uint32_t>* lengths) const {
  if (!lengths) return;
  for (size_t i = from; i < ids.size(); ++i) {
    lengths->push_back(static_cast<uint32_t>(token_bytes_[static_cast<size_t>(ids[i])].size()));
  }
}

}  // namespace phalanx::data
