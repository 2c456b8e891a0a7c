#include "data/pre_tokenizer_scan.h"

#include <array>

#include "data/pre_tokenizer_tables.h"

namespace phalanx::data {

namespace {

constexpr std::string_view kGpt2Text =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
constexpr std::string_view kLlama3Text =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kQwen2Text =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

constexpr std::string_view kO200kText =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|)"
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|)"
    R"(\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kTekkenText =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|)"
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|)"
    R"(\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

constexpr uint8_t kAnyClass = kLetter | kNumber | kSpace;

/// Reads classes of characters; 0 stands for "none of letter, number, space".
class Reader {
 public:
  explicit Reader(const char* end) : classes_(ClassTable::get()), end_(end) {}

  /// Class of the character at `p` < end, and the place behind it.
  uint8_t read(const char* p, const char** next) const {
    const uint32_t c = next_code_point(p);
    *next = p;
    return classes_[c] & kAnyClass;
  }

  /// Is the character at `p` < end one of any of `classes`?
  bool is(const char* p, uint8_t classes) const { return classes_[next_code_point(p)] & classes; }

  /// Behind the run of characters of any of `classes` that begins at `p`.
  const char* skip_any(const char* p, uint8_t classes) const {
    while (p < end_) {
      const char* next = p;
      if ((classes_[next_code_point(next)] & classes) == 0) break;
      p = next;
    }
    return p;
  }

  /// Behind the run of characters of class `wanted` that begins at `p`.
  const char* skip(const char* p, uint8_t wanted) const {
    while (p < end_) {
      const char* next;
      if (read(p, &next) != wanted) break;
      p = next;
    }
    return p;
  }

  const char* end() const { return end_; }

 private:
  const ClassTable& classes_;
  const char* end_;
};

bool is_newline(char c) {
  return c == '\r' || c == '\n';
}

/// Length of 's 't 're 've 'm 'll 'd at `p` (which is an apostrophe), or 0.
size_t contraction(const char* p, const char* end, bool ignore_case) {
  const auto at = [&](int i) {
    const char c = p + i < end ? p[i] : '\0';
    return ignore_case && c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c;
  };
  const char a = at(1);
  if (a == 's' || a == 't' || a == 'm' || a == 'd') return 2;
  if ((a == 'r' || a == 'v') && at(2) == 'e') return 3;
  if (a == 'l' && at(2) == 'l') return 3;
  const bool long_s = ignore_case && a == '\xC5' && at(2) == '\xBF';  // U+017F folds to s
  return long_s ? 3 : 0;
}

/// End of `\s+(?!\S)|\s+` at `p`: the run of spaces up to `run_end`, without its last character unless the
/// text ends there or there is only one.
const char* spaces(const char* p, const char* run_end, const char* end) {
  if (run_end == end) return run_end;
  const char* last = previous_character(run_end);
  return last == p ? run_end : last;
}

const char* gpt2_match(const Reader& reader, const char* p) {
  if (*p == '\'') {
    const size_t length = contraction(p, reader.end(), /*ignore_case=*/false);
    if (length != 0) return p + length;
  }
  const char* next;
  const uint8_t first = reader.read(p, &next);
  if (first != kSpace) return reader.skip(next, first);
  if (*p == ' ' && next < reader.end()) {
    const char* after;
    const uint8_t second = reader.read(next, &after);
    if (second != kSpace) return reader.skip(after, second);
  }
  return spaces(p, reader.skip(next, kSpace), reader.end());
}

/// Behind the last line break of [p, run_end), or null.
const char* behind_last_newline(const char* p, const char* run_end) {
  while (run_end > p) {
    if (is_newline(run_end[-1])) return run_end;
    run_end = previous_character(run_end);
  }
  return nullptr;
}

const char* signs_and_newlines(const Reader& reader, const char* p) {
  p = reader.skip(p, 0);
  while (p < reader.end() && is_newline(*p)) ++p;
  return p;
}

/// Behind up to `max_digits` numbers, of which the first ends at `next`.
const char* numbers(const Reader& reader, const char* next, int max_digits) {
  for (int i = 1; i < max_digits && next < reader.end(); ++i) {
    const char* after;
    if (reader.read(next, &after) != kNumber) break;
    next = after;
  }
  return next;
}

/// `\s*[\r\n]+|\s+(?!\S)|\s+` at `p`, whose first character ends at `next`.
const char* spaces_or_newlines(const Reader& reader, const char* p, const char* next) {
  const char* run_end = reader.skip(next, kSpace);
  const char* behind = behind_last_newline(p, run_end);
  return behind != nullptr ? behind : spaces(p, run_end, reader.end());
}

const char* llama3_match(const Reader& reader, const char* p, int max_digits) {
  if (*p == '\'') {
    const size_t length = contraction(p, reader.end(), /*ignore_case=*/true);
    if (length != 0) return p + length;
  }
  const char* next;
  const uint8_t first = reader.read(p, &next);
  if (first == kLetter) return reader.skip(next, kLetter);
  if (first == kNumber) return numbers(reader, next, max_digits);
  if (next < reader.end() && !is_newline(*p)) {
    const char* after;
    const uint8_t second = reader.read(next, &after);
    if (second == kLetter) return reader.skip(after, kLetter);
    if (*p == ' ' && second == 0) return signs_and_newlines(reader, after);
  }
  if (first == 0) return signs_and_newlines(reader, next);
  return spaces_or_newlines(reader, p, next);
}

/// `[upper]*[lower]+` at `p`, or null. What begins a word is taken as far as it goes; where nothing that only
/// ends a word follows, the last character that does both is given back.
const char* cased_word(const Reader& reader, const char* p) {
  const char* const upper_end = reader.skip_any(p, kUpperLike);
  if (upper_end < reader.end() && reader.is(upper_end, kLowerLike))
    return reader.skip_any(upper_end, kLowerLike);
  for (const char* end = upper_end; end > p;) {
    const char* const last = previous_character(end);
    if (reader.is(last, kLowerLike)) return end;
    end = last;
  }
  return nullptr;
}

/// A word with the sign or space before it, or null: the first two alternatives of o200k_base.
const char* word_with_sign(const Reader& reader, const char* p, const char* next, uint8_t first) {
  const bool may_be_sign = first != kLetter && first != kNumber && !is_newline(*p);
  const bool has_sign = may_be_sign && next < reader.end();
  if (has_sign) {
    if (const char* end = cased_word(reader, next)) return end;
  }
  if (const char* end = cased_word(reader, p)) return end;
  for (const char* begin : {has_sign ? next : p, p}) {
    const char* const end = reader.skip_any(begin, kUpperLike);
    if (end > begin) return end;
  }
  return nullptr;
}

struct O200kOptions {
  int max_digits;
  bool has_contractions;
};

const char* o200k_match(const Reader& reader, const char* p, const O200kOptions& options) {
  const char* next;
  const uint8_t first = reader.read(p, &next);
  if (first == kNumber) return numbers(reader, next, options.max_digits);
  if (const char* end = word_with_sign(reader, p, next, first)) {
    const bool may_go_on = options.has_contractions && end < reader.end() && *end == '\'';
    return may_go_on ? end + contraction(end, reader.end(), /*ignore_case=*/true) : end;
  }
  const char* signs = first == 0 ? p : *p == ' ' && next < reader.end() ? next : nullptr;
  if (signs != nullptr) {
    const char* end = reader.skip(signs, 0);
    if (end > signs) {
      while (end < reader.end() && (is_newline(*end) || *end == '/')) ++end;
      return end;
    }
  }
  return spaces_or_newlines(reader, p, next);
}

template <typename Match>
void scan_with(Match match, std::string_view text, Piece part, std::vector<Piece>& out) {
  const char* base = text.data();
  const char* p = base + part.begin;
  const Reader reader(base + part.end);
  while (p < reader.end()) {
    const char* end = match(reader, p);
    out.push_back({static_cast<uint32_t>(p - base), static_cast<uint32_t>(end - base)});
    p = end;
  }
}

}  // namespace

std::string_view pattern_text(KnownPattern pattern) {
  constexpr std::array kTexts = {kGpt2Text, kLlama3Text, kQwen2Text, kO200kText, kTekkenText};
  return kTexts[static_cast<size_t>(pattern)];
}

std::optional<KnownPattern> known_pattern(std::string_view text) {
  using enum KnownPattern;
  for (const KnownPattern pattern : {kGpt2, kLlama3, kQwen2, kO200k, kTekken})
    if (text == pattern_text(pattern)) return pattern;
  return std::nullopt;
}

void scan(KnownPattern pattern, std::string_view text, Piece part, std::vector<Piece>& out) {
  const auto llama3 = [&](int max_digits) {
    scan_with([=](const Reader& reader, const char* p) { return llama3_match(reader, p, max_digits); }, text,
              part, out);
  };
  const auto o200k = [&](const O200kOptions& options) {
    scan_with([=](const Reader& reader, const char* p) { return o200k_match(reader, p, options); }, text,
              part, out);
  };
  switch (pattern) {
    case KnownPattern::kGpt2:
      return scan_with(gpt2_match, text, part, out);
    case KnownPattern::kLlama3:
      return llama3(3);
    case KnownPattern::kQwen2:
      return llama3(1);
    case KnownPattern::kO200k:
      return o200k({.max_digits = 3, .has_contractions = true});
    case KnownPattern::kTekken:
      return o200k({.max_digits = 1, .has_contractions = false});
  }
}

void scan_digits(std::string_view text, Piece part, std::vector<Piece>& out) {
  const ClassTable& classes = ClassTable::get();
  const char* base = text.data();
  const char* end = base + part.end;
  uint32_t begin = part.begin;
  for (const char* p = base + part.begin; p < end;) {
    const auto at = static_cast<uint32_t>(p - base);
    if ((classes[next_code_point(p)] & kDigit) == 0) continue;
    if (begin < at) out.push_back({begin, at});
    begin = static_cast<uint32_t>(p - base);
    out.push_back({at, begin});
  }
  if (begin < part.end) out.push_back({begin, part.end});
}

}  // namespace phalanx::data
