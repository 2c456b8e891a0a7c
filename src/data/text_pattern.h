#pragma once
#include <string>
#include <variant>

#include "data/pre_tokenizer_regex.h"
#include "data/pre_tokenizer_scan.h"
#include "data/tokenizer_json_value.h"

namespace phalanx::data {

/// The "pattern" of a Split or a Replace: {"String": text} or {"Regex": pattern}.
class TextPattern {
 public:
  /// @throws TokenizerError kSchema, kRegex
  TextPattern(const JsonValue& pattern, const std::string& source);

  /// Calls found(begin, end) for each match in text[from, to), in order.
  template <typename Found>
  void for_each_match(std::string_view text, size_t from, size_t to, Found&& found) const {
    if (const auto* regex = std::get_if<Regex>(&pattern_))
      return regex->for_each_match(text, from, to, found);
    if (const auto* known = std::get_if<KnownPattern>(&pattern_)) {
      std::vector<Piece> matches;
      scan(*known, text, {static_cast<uint32_t>(from), static_cast<uint32_t>(to)}, matches);
      for (const Piece& match : matches) found(match.begin, match.end);
      return;
    }
    const auto& literal = std::get<std::string>(pattern_);
    const std::string_view subject = text.substr(0, to);
    for (size_t at = subject.find(literal, from); at != std::string_view::npos;
         at = subject.find(literal, at + literal.size())) {
      found(at, at + literal.size());
    }
  }

  /// One of the patterns that are written out by hand.
  const KnownPattern* known() const { return std::get_if<KnownPattern>(&pattern_); }

 private:
  std::variant<std::string, Regex, KnownPattern> pattern_;
};

}  // namespace phalanx::data
