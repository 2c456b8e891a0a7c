#include "data/text_pattern.h"

#include "data/pre_tokenizer_pattern.h"

namespace phalanx::data {

TextPattern::TextPattern(const JsonValue& pattern, const std::string& source) {
  const auto regex = pattern.find("Regex");
  const auto literal = pattern.find("String");
  if (regex.has_value() == literal.has_value()) pattern.wrong("{\"Regex\": ...} or {\"String\": ...}");
  pattern.allow_keys({"Regex", "String"});
  if (literal) {
    if (literal->text().empty()) literal->wrong("at least one character");
    pattern_ = std::string(literal->text());
  } else if (const auto known = known_pattern(regex->text())) {
    pattern_ = *known;
  } else {
    pattern_ = Regex(translate_pattern(regex->text(), source), source);
  }
}

}  // namespace phalanx::data
