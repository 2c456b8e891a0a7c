#include "data/tokenizer_added.h"

#include <algorithm>

#include "data/pre_tokenizer_tables.h"
#include "data/tokenizer_error.h"

namespace phalanx::data {

namespace {

uint8_t class_at(const char* p) {
  return ClassTable::get()[next_code_point(p)];
}

bool is_single_word(std::string_view text, size_t begin, size_t end) {
  const bool word_before = begin > 0 && (class_at(previous_character(text.data() + begin)) & kWord);
  const bool word_behind = end < text.size() && (class_at(text.data() + end) & kWord);
  return !word_before && !word_behind;
}

/// Where the whitespace that ends at `begin` starts, not before `limit`.
size_t before_spaces(std::string_view text, size_t begin, size_t limit) {
  const char* p = text.data() + begin;
  while (p > text.data() + limit) {
    const char* previous = previous_character(p);
    if ((class_at(previous) & kSpace) == 0) break;
    p = previous;
  }
  return static_cast<size_t>(p - text.data());
}

size_t behind_spaces(std::string_view text, size_t end) {
  const char* const text_end = text.data() + text.size();
  const char* p = text.data() + end;
  while (p < text_end) {
    const char* next = p;
    if ((ClassTable::get()[next_code_point(next)] & kSpace) == 0) break;
    p = next;
  }
  return static_cast<size_t>(p - text.data());
}

}  // namespace

AddedTokenMatcher::AddedTokenMatcher(const std::vector<AddedToken>& tokens, bool normalized,
                                     const Normalizers& normalizers, const std::string& source)
    : tokens_(tokens) {
  std::vector<std::pair<std::string, int32_t>> patterns;
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (tokens[i].normalized != normalized) continue;
    const bool as_written = !normalized || tokens[i].verbatim;
    std::string text = as_written ? tokens[i].content : normal_form(normalizers, tokens[i].content);
    if (!text.empty()) patterns.emplace_back(std::move(text), static_cast<int32_t>(i));
  }
  std::sort(patterns.begin(), patterns.end());
  for (size_t i = 1; i < patterns.size(); ++i) {
    if (patterns[i].first != patterns[i - 1].first) continue;
    fail_tokenizer(TokenizerErrorKind::kAddedTokens,
                   "{}: two added_tokens are the same text \"{}\"; each may occur once", source,
                   core::printable(patterns[i].first, 60));
  }
  trie_ = ByteTrie(std::move(patterns));
}

bool AddedTokenMatcher::find(std::string_view text, size_t from, Match& match) const {
  for (size_t begin = from; begin < text.size(); ++begin) {
    if (!trie_.has_first_byte(text[begin])) continue;
    match.token = nullptr;
    trie_.for_each_prefix(text.substr(begin), [&](size_t length, int32_t token) {
      match = {begin, begin + length, &tokens_[static_cast<size_t>(token)]};
    });
    if (match.token) return true;
  }
  return false;
}

std::vector<AddedTokenMatcher::Part> AddedTokenMatcher::split(std::string_view text,
                                                              SpecialText special) const {
  std::vector<Part> parts;
  const auto add = [&](size_t begin, size_t end, const AddedToken* token) {
    parts.push_back({static_cast<uint32_t>(begin), static_cast<uint32_t>(end), token});
  };
  size_t done = 0;
  Match match{};
  for (size_t from = 0; !empty() && find(text, from, match); from = match.end) {
    const AddedToken& token = *match.token;
    if (special == SpecialText::kLiteral && token.special) continue;
    if (token.single_word && !is_single_word(text, match.begin, match.end)) continue;
    // A match may begin inside the whitespace that the token before it took: then it keeps its place, as in
    // the reference.
    size_t begin = match.begin;
    if (token.lstrip) begin = std::max(before_spaces(text, begin, std::min(done, begin)), done);
    const size_t end = token.rstrip ? behind_spaces(text, match.end) : match.end;
    if (done < begin) add(done, begin, nullptr);
    if (begin < end) add(begin, end, &token);  // else the token before it took all of it as whitespace
    done = end;
  }
  if (done < text.size()) add(done, text.size(), nullptr);
  return parts;
}

}  // namespace phalanx::data
