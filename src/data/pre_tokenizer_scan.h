#pragma once
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace phalanx::data {

/// A part of a text: bytes [begin, end).
struct Piece {
  uint32_t begin, end;
};

/// The patterns that nearly all byte-level tokenizers use, known by their text; written out by hand they
/// split ten times faster than a regex engine. pre_tokenizer_scan_test holds each against PCRE2 on random
/// Unicode.
enum class KnownPattern { kGpt2, kLlama3, kQwen2, kO200k, kTekken };

std::string_view pattern_text(KnownPattern pattern);
std::optional<KnownPattern> known_pattern(std::string_view text);

/// Appends the matches of `pattern` in text[part.begin, part.end) to `out`. They cover the part without gaps.
/// The text must be valid UTF-8; look-ahead ends at part.end.
void scan(KnownPattern pattern, std::string_view text, Piece part, std::vector<Piece>& out);

/// Appends the parts of text[part.begin, part.end) with every numeric character on its own.
void scan_digits(std::string_view text, Piece part, std::vector<Piece>& out);

}  // namespace phalanx::data
