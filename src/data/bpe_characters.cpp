#include "data/bpe_characters.h"

#include <algorithm>

#include "data/bpe_cache.h"
#include "data/byte_tokens.h"
#include "data/pre_tokenizer_tables.h"
#include "data/tokenizer_error.h"

namespace phalanx::data {

namespace {

uint64_t character_pair(uint32_t left, uint32_t right) {
  return static_cast<uint64_t>(left) << 32 | right;
}

uint32_t first_character(std::string_view text) {
  const char* p = text.data();
  return next_code_point(p);
}

uint32_t last_character(std::string_view text) {
  const char* p = previous_character(text.data() + text.size());
  return next_code_point(p);
}

}  // namespace

CharacterBpe::CharacterBpe(const TokenizerSpec& spec)
    : source_(spec.source),
      first_hidden_(static_cast<TokenId>(spec.tokens.size())),
      merges_(std::get<BpeModel>(spec.model).merges),
      byte_tokens_(find_byte_tokens(spec)),
      cache_owner_(WordCache::next_owner()) {
  const auto& model = std::get<BpeModel>(spec.model);
  ignore_merges_ = model.ignore_merges;
  byte_fallback_ = model.byte_fallback;
  fuse_unk_ = model.fuse_unk;
  unk_ = model.unk;
  prefix_ = model.continuing_subword_prefix;
  suffix_ = model.end_of_word_suffix;
  for (size_t id = 0; id < static_cast<size_t>(spec.num_model_tokens); ++id)
    if (!spec.tokens[id].empty()) tokens_.emplace(spec.tokens[id], static_cast<TokenId>(id));
  for (size_t i = 0; i < model.hidden.size(); ++i)
    tokens_.emplace(model.hidden[i], first_hidden_ + static_cast<TokenId>(i));

  is_cut_ = prefix_.empty() && suffix_.empty();
  const auto text_of = [&](TokenId id) -> std::string_view {
    return id < first_hidden_ ? spec.tokens[static_cast<size_t>(id)]
                              : model.hidden[static_cast<size_t>(id - first_hidden_)];
  };
  for (const Merge& merge : model.merges) {
    const std::string_view left = text_of(merge.left);
    const std::string_view right = text_of(merge.right);
    is_cut_ = is_cut_ && !byte_of_token(left) && !byte_of_token(right);
    const uint32_t a = last_character(left);
    const uint32_t b = first_character(right);
    touching_.insert(character_pair(a, b));
    if (a < 0x80 && b < 0x80) ascii_touching_.set(a << 7 | b);
  }
  has_every_byte_ = byte_fallback_ && std::count(byte_tokens_.begin(), byte_tokens_.end(), -1) == 0;
}

void CharacterBpe::encode(std::string_view text, const std::vector<Piece>& pieces, std::vector<TokenId>& ids,
                          std::vector<uint32_t>* lengths) const {
  for (const Piece& piece : pieces) encode_piece(text, piece, ids, lengths);
}

// No merge reaches over two characters that no merge joins, so the parts between such pairs are independent.
void CharacterBpe::encode_piece(std::string_view text, Piece piece, std::vector<TokenId>& ids,
                                std::vector<uint32_t>* lengths) const {
  if (ignore_merges_) {
    const auto found = tokens_.find(text.substr(piece.begin, piece.end - piece.begin));
    if (found != tokens_.end() && found->second < first_hidden_) {
      ids.push_back(found->second);
      if (lengths) lengths->push_back(piece.end - piece.begin);
      return;
    }
  }
  WordCache& cache = WordCache::of_this_thread();
  const char* const end = text.data() + piece.end;
  const char* p = text.data() + piece.begin;
  while (p < end) {
    const char* const begin = p;
    next_code_point(p);
    for (const char* left = begin; p < end && !(is_cut_ && may_cut(left, p));) {
      left = p;
      next_code_point(p);
    }
    const Piece part{static_cast<uint32_t>(begin - text.data()), static_cast<uint32_t>(p - text.data())};
    if (lengths) {
      encode_part(text.substr(part.begin, part.end - part.begin), ids, lengths);
    } else {
      cache.encode(text, part, cache_owner_, ids,
                   [&](std::string_view word) { encode_part(word, ids, nullptr); });
    }
  }
}

bool CharacterBpe::may_cut(const char* left, const char* right) const {
  const char* p = left;
  const uint32_t left_character = next_code_point(p);
  p = right;
  const uint32_t right_character = next_code_point(p);
  if (left_character < 0x80 && right_character < 0x80) {
    if (ascii_touching_[left_character << 7 | right_character]) return false;
  } else if (touching_.contains(character_pair(left_character, right_character))) {
    return false;
  }
  // Unknown characters reach further: they may become one token with the next.
  if (has_every_byte_) return true;
  const auto is_known = [&](const char* begin, const char* behind) {
    const auto found = tokens_.find(std::string_view(begin, static_cast<size_t>(behind - begin)));
    return found != tokens_.end() && found->second < first_hidden_;
  };
  return is_known(left, right) && is_known(right, p);
}

void CharacterBpe::encode_part(std::string_view part, std::vector<TokenId>& ids,
                               std::vector<uint32_t>* lengths) const {
  thread_local BpeSymbols symbols;
  symbols.clear();
  start(part, symbols);
  symbols.merge(merges_);
  finish(part, symbols, ids, lengths);
}

TokenId CharacterBpe::token_of(std::string_view character, bool is_first, bool is_last) const {
  const bool has_prefix = !is_first && !prefix_.empty();
  const bool has_suffix = is_last && !suffix_.empty();
  if (!has_prefix && !has_suffix) {
    const auto found = tokens_.find(character);
    return found == tokens_.end() ? -1 : found->second;
  }
  std::string written = has_prefix ? prefix_ : std::string();
  written += character;
  if (has_suffix) written += suffix_;
  const auto found = tokens_.find(written);
  return found == tokens_.end() ? -1 : found->second;
}

bool CharacterBpe::has_all_byte_tokens(std::string_view bytes) const {
  return std::all_of(bytes.begin(), bytes.end(),
                     [&](char byte) { return byte_tokens_[static_cast<uint8_t>(byte)] >= 0; });
}

void CharacterBpe::start(std::string_view part, BpeSymbols& symbols) const {
  size_t pending_unk = 0;  // bytes of an unknown token that may grow
  const char* const end = part.data() + part.size();
  for (const char* p = part.data(); p < end;) {
    const char* const begin = p;
    next_code_point(p);
    const std::string_view character(begin, static_cast<size_t>(p - begin));
    const TokenId token = token_of(character, begin == part.data(), p == end);
    if (token >= 0) {
      if (pending_unk > 0) symbols.add(*unk_, std::exchange(pending_unk, 0));
      symbols.add(token, character.size());
    } else if (byte_fallback_ && has_all_byte_tokens(character)) {
      // An unknown token that waits is written behind these, as in the reference.
      for (const char byte : character) symbols.add(byte_tokens_[static_cast<uint8_t>(byte)], 1);
    } else if (unk_) {
      if (pending_unk > 0 && !fuse_unk_) symbols.add(*unk_, std::exchange(pending_unk, 0));
      pending_unk += character.size();
    } else {
      refuse(character, part);
    }
  }
  if (pending_unk > 0) symbols.add(*unk_, pending_unk);
}

void CharacterBpe::finish(std::string_view part, const BpeSymbols& symbols, std::vector<TokenId>& ids,
                          std::vector<uint32_t>* lengths) const {
  size_t at = 0;
  const auto add = [&](TokenId token, uint32_t length) {
    ids.push_back(token);
    if (lengths) lengths->push_back(length);
  };
  bool behind_unk = false;
  symbols.for_each([&](TokenId merged, uint32_t length) {
    const std::string_view text = part.substr(at, length);
    at += length;
    const bool is_hidden = merged >= first_hidden_;
    const TokenId token = is_hidden && unk_ ? *unk_ : merged;
    if (is_hidden && byte_fallback_ && has_all_byte_tokens(text)) {
      for (const char byte : text) add(byte_tokens_[static_cast<uint8_t>(byte)], 1);
      behind_unk = false;
    } else if (is_hidden && !unk_) {
      refuse(text, part);
    } else if (fuse_unk_ && behind_unk && token == *unk_) {
      if (lengths) lengths->back() += length;
    } else {
      add(token, length);
      behind_unk = unk_ && token == *unk_;
    }
  });
}

// The reference drops such a character silently.
void CharacterBpe::refuse(std::string_view character, std::string_view part) const {
  fail_tokenizer(TokenizerErrorKind::kText,
                 "{}: the vocabulary has no token for the character \"{}\" of \"{}\", and no unk_token or "
                 "byte_fallback; "
                 "use a tokenizer that has one of them",
                 source_, core::printable(character, 16), core::printable(part, 40));
}

}  // namespace phalanx::data
