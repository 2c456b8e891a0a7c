#include "data/pre_tokenizer_pattern.h"

#include <algorithm>

#include "data/pre_tokenizer_tables.h"
#include "data/tokenizer_error.h"

namespace phalanx::data {

namespace {

// PCRE2's own \s has U+180E too, which is no space since Unicode 6.3.
constexpr std::string_view kSpaceItems = "\\t-\\r\\x{85}\\p{Z}";

bool is_letter_or_digit(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}
bool is_decimal(char c) {
  return c >= '0' && c <= '9';
}
bool is_hex(char c) {
  return is_decimal(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

class Translator {
 public:
  Translator(std::string_view pattern, std::string_view source) : in_(pattern), source_(source) {}

  std::string run() {
    while (at_ < in_.size()) translate_one();
    return std::move(out_);
  }

 private:
  void translate_one() {
    const char c = in_[at_];
    if (c == '\\') return escape(/*in_class=*/false);
    if (c == '[') return character_class();
    if (c == '(') return group();
    if (c == '{') return interval();
    out_ += c;
    ++at_;
  }

  void group() {
    static constexpr std::string_view kKnown[] = {
        "(?:", "(?i:", "(?-i:", "(?i)", "(?=", "(?!", "(?>", "(?<=", "(?<!"};
    if (!starts_with("(?") && !starts_with("(*")) return copy(1);
    for (const std::string_view known : kKnown) {
      if (starts_with(known)) return copy(known.size());
    }
    refuse("this kind of group");
  }

  // {n}, {n,}, {n,m}; what follows them ("?", "+") differs between the two dialects, and so does "{,m}".
  void interval() {
    size_t end = at_ + 1;
    while (end < in_.size() && (is_decimal(in_[end]) || in_[end] == ',')) ++end;
    if (end == in_.size() || in_[end] != '}' || end == at_ + 1) return copy_quoted();
    const std::string_view body = in_.substr(at_ + 1, end - at_ - 1);
    if (body.front() == ',' || std::count(body.begin(), body.end(), ',') > 1) refuse("this interval");
    const char next = end + 1 < in_.size() ? in_[end + 1] : '\0';
    const bool is_exact = body.find(',') == std::string_view::npos;
    if (next == '+' || (next == '?' && is_exact)) refuse("a '+' or '?' behind this interval");
    copy(end + 1 - at_);
  }

  void copy_quoted() {
    out_ += '\\';
    copy(1);
  }

  void character_class() {
    out_ += in_[at_++];
    if (at_ < in_.size() && in_[at_] == '^') copy(1);
    if (at_ < in_.size() && in_[at_] == ']') refuse("a class that begins with ']'");
    while (at_ < in_.size() && in_[at_] != ']') {
      if (in_[at_] == '[') refuse("a class inside a class (write \\[ for the character)");
      if (starts_with("&&")) refuse("an intersection of classes");
      if (in_[at_] == '\\') {
        escape(/*in_class=*/true);
      } else {
        copy(1);
      }
    }
    if (at_ == in_.size()) refuse("a class without its ']'");
    copy(1);
  }

  void escape(bool in_class) {
    if (at_ + 1 == in_.size()) refuse("a '\\' at the end");
    const char c = in_[at_ + 1];
    if (!is_letter_or_digit(c)) return copy_character_escape();
    switch (c) {
      case 'r':
      case 'n':
      case 't':
      case 'f':
        return copy(2);
      case 'A':
      case 'z':
        if (in_class) break;
        return copy(2);
      case 's':
        return items(kSpaceItems, in_class, /*negated=*/false, 2);
      case 'S':
        return items(kSpaceItems, in_class, /*negated=*/true, 2);
      case 'd':
        return items(category_items("Nd"), in_class, /*negated=*/false, 2);
      case 'D':
        return items(category_items("Nd"), in_class, /*negated=*/true, 2);
      case 'p':
      case 'P':
        return property(in_class);
      case 'x':
      case 'u':
        return code_point();
      default:
        break;
    }
    refuse("this escape");
  }

  // An escaped sign or an escaped character beyond ASCII, of which all bytes must be copied.
  void copy_character_escape() {
    const char* end = in_.data() + at_ + 1;
    next_code_point(end);
    const bool is_ascii = static_cast<uint8_t>(in_[at_ + 1]) < 0x80;
    if (!is_ascii) ++at_;
    copy(static_cast<size_t>(end - (in_.data() + at_)));
  }

  void property(bool in_class) {
    const size_t close = in_.find('}', at_);
    if (at_ + 2 >= in_.size() || in_[at_ + 2] != '{' || close == std::string_view::npos)
      refuse("this property");
    std::string_view name = in_.substr(at_ + 3, close - at_ - 3);
    bool negated = in_[at_ + 1] == 'P';
    if (!name.empty() && name.front() == '^') {
      negated = !negated;
      name.remove_prefix(1);
    }
    items(category_items(name), in_class, negated, close + 1 - at_);
  }

  std::string category_items(std::string_view name) {
    const auto* end = kSupplements + kNumSupplements;
    const auto* found = std::find_if(kSupplements, end, [&](const auto& s) { return s.category == name; });
    if (found == end) refuse("a property that is no general category such as L, Lu, M, N, Nd, P, S, Z");
    return fmt::format("\\p{{{}}}{}", name, found->ranges);
  }

  void items(std::string_view items, bool in_class, bool negated, size_t length) {
    if (in_class && negated) refuse("a negated set inside a class");
    out_ += in_class ? std::string(items) : fmt::format("[{}{}]", negated ? "^" : "", items);
    at_ += length;
  }

  void code_point() {
    const bool braces = in_[at_ + 1] == 'x' && at_ + 2 < in_.size() && in_[at_ + 2] == '{';
    const size_t begin = at_ + (braces ? 3 : 2);
    const size_t wanted = braces ? 8 : in_[at_ + 1] == 'x' ? 2 : 4;
    size_t end = begin;
    while (end < in_.size() && end < begin + wanted && is_hex(in_[end])) ++end;
    const bool closed = !braces || (end < in_.size() && in_[end] == '}');
    if (end == begin || !closed || (!braces && end != begin + wanted)) refuse("this character number");
    const std::string digits(in_.substr(begin, end - begin));
    // Oniguruma reads \xHH as a byte of UTF-8, PCRE2 as a character.
    if (!braces && in_[at_ + 1] == 'x' && std::stoul(digits, nullptr, 16) >= 0x80)
      refuse("a byte beyond ASCII");
    out_ += fmt::format("\\x{{{}}}", digits);
    at_ = end + (braces ? 1 : 0);
  }

  bool starts_with(std::string_view prefix) const { return in_.substr(at_, prefix.size()) == prefix; }

  void copy(size_t length) {
    out_ += in_.substr(at_, length);
    at_ += length;
  }

  [[noreturn]] void refuse(std::string_view what) const {
    fail_tokenizer(
        TokenizerErrorKind::kRegex,
        "{}: pattern {}: {} at byte {} is not supported: \"{}\"; Phalanx takes the patterns of gpt-2, "
        "smollm, "
        "llama-bpe, qwen2 and others made of literals, classes, \\s \\d \\p{{..}}, groups, look-around and "
        "quantifiers",
        source_, core::printable(in_, 60), what, at_, core::printable(in_.substr(at_), 16));
  }

  std::string_view in_;
  std::string_view source_;
  size_t at_ = 0;
  std::string out_ = {};
};

}  // namespace

std::string translate_pattern(std::string_view pattern, std::string_view source) {
  return Translator(pattern, source).run();
}

std::string quote_pattern(std::string_view text) {
  std::string pattern;
  for (const char c : text) {
    if (static_cast<uint8_t>(c) < 0x80 && !is_letter_or_digit(c)) pattern += '\\';
    pattern += c;
  }
  return pattern;
}

}  // namespace phalanx::data
