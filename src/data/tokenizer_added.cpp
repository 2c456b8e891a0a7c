#include "data/tokenizer_added.h"

#include <algorithm>
#include <deque>

#include "data/pre_tokenizer_tables.h"
#include "data/tokenizer_error.h"
#include "data/tokenizer_normalizer.h"

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

AddedTokenMatcher::AddedTokenMatcher(const std::vector<AddedToken>& tokens, bool normalized, bool nfc,
                                     const std::string& source)
    : tokens_(tokens) {
  std::vector<std::pair<std::string, int32_t>> patterns;
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (tokens[i].normalized != normalized) continue;
    const auto normal = normalized && nfc ? normalize_nfc(tokens[i].content) : std::nullopt;
    patterns.emplace_back(normal ? normal->text() : tokens[i].content, static_cast<int32_t>(i));
  }
  build(patterns, source);
}

void AddedTokenMatcher::build(std::vector<std::pair<std::string, int32_t>>& patterns,
                              const std::string& source) {
  std::sort(patterns.begin(), patterns.end());
  for (size_t i = 1; i < patterns.size(); ++i) {
    if (patterns[i].first != patterns[i - 1].first) continue;
    fail_tokenizer(TokenizerErrorKind::kAddedTokens,
                   "{}: two added_tokens are the same text \"{}\"; each may occur once", source,
                   core::printable(patterns[i].first, 60));
  }
  struct Work {
    size_t first, last, depth;  // patterns[first, last) share their first `depth` bytes
    uint32_t node;
  };
  nodes_.push_back({});
  std::deque<Work> queue = {{0, patterns.size(), 0, 0}};
  while (!queue.empty()) {
    auto [first, last, depth, node] = queue.front();
    queue.pop_front();
    if (first < last && patterns[first].first.size() == depth) nodes_[node].token = patterns[first++].second;
    nodes_[node].first_child = static_cast<uint32_t>(nodes_.size());
    while (first < last) {
      const auto byte = static_cast<uint8_t>(patterns[first].first[depth]);
      size_t end = first;
      while (end < last && static_cast<uint8_t>(patterns[end].first[depth]) == byte) ++end;
      queue.push_back({first, end, depth + 1, static_cast<uint32_t>(nodes_.size())});
      nodes_.push_back({.byte = byte});
      ++nodes_[node].num_children;
      if (depth == 0) can_begin_[byte] = true;
      first = end;
    }
  }
}

int32_t AddedTokenMatcher::child(const Node& node, uint8_t byte) const {
  const auto begin = nodes_.begin() + node.first_child;
  const auto end = begin + node.num_children;
  const auto found = std::lower_bound(begin, end, byte, [](const Node& n, uint8_t b) { return n.byte < b; });
  return found != end && found->byte == byte ? static_cast<int32_t>(found - nodes_.begin()) : -1;
}

bool AddedTokenMatcher::find(std::string_view text, size_t from, Match& match) const {
  for (size_t begin = from; begin < text.size(); ++begin) {
    if (!can_begin_[static_cast<uint8_t>(text[begin])]) continue;
    int32_t longest = -1;
    size_t longest_end = 0;
    int32_t node = 0;
    for (size_t at = begin; at < text.size(); ++at) {
      node = child(nodes_[static_cast<size_t>(node)], static_cast<uint8_t>(text[at]));
      if (node < 0) break;
      const int32_t token = nodes_[static_cast<size_t>(node)].token;
      if (token < 0) continue;
      longest = token;
      longest_end = at + 1;
    }
    if (longest < 0) continue;
    match = {begin, longest_end, &tokens_[static_cast<size_t>(longest)]};
    return true;
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
