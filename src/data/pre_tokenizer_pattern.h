#pragma once
#include <string>
#include <string_view>

namespace phalanx::data {

/// Translates a pattern of tokenizer.json (Oniguruma, Unicode 16) to PCRE2 so that it means the same. Only
/// what is known to mean the same, or can be made to, is let through: `\s`, `\d` and `\p{General_Category}`
/// are completed with the characters that PCRE2's tables lack; `\w`, `\b`, back-references, class
/// intersections and the like are refused.
///
/// @throws TokenizerError kRegex naming `source`, the construct and its place in the pattern.
std::string translate_pattern(std::string_view pattern, std::string_view source);

/// `text` as a pattern that matches exactly it.
std::string quote_pattern(std::string_view text);

}  // namespace phalanx::data
