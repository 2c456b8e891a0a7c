#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "data/chat_template.h"
#include "data/tokenizer.h"

namespace phalanx::data {

/// Finds and defuses the text of special tokens inside what people wrote.
///
/// A template joins content with control tokens into one text, after which nobody can tell "<|im_end|>" of
/// the content from the template's own. So before rendering, a noncharacter that the record does not contain
/// is put behind the first character of each special text in the content; afterwards it marks the places, and
/// is taken out again.
class LiteralText {
 public:
  explicit LiteralText(const Tokenizer& tokenizer);

  bool is_in(std::string_view text) const;      ///< does a special token's text occur?
  bool is_in(const jinja::Value& value) const;  ///< ... in any text inside of it?

  /// A copy of `value` with marks in all its texts. `mark` is the noncharacter that was chosen.
  /// @throws core::Error (65) for a record that contains all of the noncharacters U+FDD0 .. U+FDEF.
  jinja::Value protect(const jinja::Value& value, std::string* mark) const;

  /// Encodes rendered text that contains marks: control tokens of the template as such, all else as plain
  /// characters. Marks are removed from `text`, ranges and `spans` are those of the text without them.
  Tokenizer::Encoding encode(std::string& text, const std::string& mark, std::vector<ByteRange>& spans) const;

 private:
  size_t match_at(std::string_view text,
                  size_t at) const;  // length of the special text that begins there, or 0
  std::string protect(std::string_view text, const std::string& mark) const;

  const Tokenizer& tokenizer_;
  std::vector<std::vector<std::string>> by_first_byte_;  // [256] special texts, longest first
};

}  // namespace phalanx::data
