#include "data/jinja_lexer.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>

#include "data/jinja_error.h"
#include "data/jinja_text.h"

namespace phalanx::data::jinja {

namespace {

using Kind = Token::Kind;

std::string normalise_newlines(std::string_view source) {
  std::string out;
  out.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r') {
      out += '\n';
      if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
    } else {
      out += source[i];
    }
  }
  if (!out.empty() && out.back() == '\n') out.pop_back();
  return out;
}

bool is_name_start(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (c & 0x80) != 0;
}
bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
bool is_name_part(char c) {
  return is_name_start(c) || is_digit(c);
}

class Lexer {
 public:
  explicit Lexer(std::string_view source) : source_(normalise_newlines(source)) {}

  std::vector<Token> run() {
    while (at_ < source_.size()) lex_data();
    add(Kind::kEnd, "");
    return std::move(tokens_);
  }

 private:
  bool starts_with(std::string_view text) const { return source_.compare(at_, text.size(), text) == 0; }
  char peek(size_t ahead = 0) const { return at_ + ahead < source_.size() ? source_[at_ + ahead] : '\0'; }

  void add(Kind kind, std::string text) {
    Token token;
    token.kind = kind;
    token.text = std::move(text);
    token.line = line_;
    tokens_.push_back(std::move(token));
  }

  void move_to(size_t at) {
    line_ += static_cast<int>(std::count(source_.begin() + static_cast<int64_t>(at_),
                                         source_.begin() + static_cast<int64_t>(at), '\n'));
    at_ = at;
  }

  size_t find_tag(size_t from) const {
    for (size_t at = source_.find('{', from); at != std::string::npos; at = source_.find('{', at + 1)) {
      const char next = at + 1 < source_.size() ? source_[at + 1] : '\0';
      if (next == '{' || next == '%' || next == '#') return at;
    }
    return std::string::npos;
  }

  /// The text before a tag, after the tag's own whitespace control and lstrip_blocks.
  std::string_view stripped(std::string_view text, char tag, char sign) const {
    if (sign == '-') return strip(text, std::nullopt, false, true);
    if (sign == '+' || tag == '{') return text;
    const size_t newline = text.rfind('\n');
    const size_t line_begin = newline == std::string_view::npos ? 0 : newline + 1;
    if (newline == std::string_view::npos && !line_starting_) return text;
    const bool blank = strip(text.substr(line_begin), std::nullopt, true, false).empty();
    return blank ? text.substr(0, line_begin) : text;
  }

  void add_data(std::string_view text) {
    if (!text.empty()) add(Kind::kData, std::string(text));
  }

  void lex_data() {
    const size_t tag = find_tag(at_);
    if (tag == std::string::npos) {
      add_data(std::string_view(source_).substr(at_));
      move_to(source_.size());
      return;
    }
    const std::string_view text = std::string_view(source_).substr(at_, tag - at_);
    const char type = source_[tag + 1];
    char sign = tag + 2 < source_.size() ? source_[tag + 2] : '\0';
    if (sign != '-' && sign != '+') sign = '\0';
    add_data(stripped(text, type, sign));
    move_to(tag + 2 + (sign != '\0' ? 1 : 0));
    if (type == '#') {
      lex_comment();
    } else if (type == '%' && lex_raw()) {
      return;
    } else {
      lex_tag(type);
    }
  }

  /// Moves behind the closing mark that begins at `at` (after an optional sign), with what trimming takes
  /// after it.
  void close(size_t at, bool strip_all, bool trim_newline) {
    size_t end = at + 2;
    if (strip_all) {
      const std::string_view rest = std::string_view(source_).substr(end);
      end += rest.size() - strip(rest, std::nullopt, true, false).size();
    } else if (trim_newline && end < source_.size() && source_[end] == '\n') {
      ++end;
    }
    line_starting_ = source_[end - 1] == '\n';
    move_to(end);
  }

  void lex_comment() {
    const size_t end = source_.find("#}", at_);
    if (end == std::string::npos)
      fail(ErrorKind::kSyntax, "line {}: the comment '{{#' is not closed by '#}}'", line_);
    const char sign = end > at_ ? source_[end - 1] : '\0';
    close(end, sign == '-', sign != '+');
  }

  /// {% raw %}: everything up to {% endraw %} is data. False when the tag is another one.
  bool lex_raw() {
    size_t at = at_;
    if (!skip_word(at, "raw")) return false;
    const bool strip_all = at < source_.size() && source_[at] == '-';
    if (strip_all) ++at;
    if (source_.compare(at, 2, "%}") != 0) return false;
    close(at, strip_all, false);
    const size_t begin = at_;
    for (size_t tag = source_.find("{%", begin); tag != std::string::npos;
         tag = source_.find("{%", tag + 1)) {
      size_t end = tag + 2;
      char sign = end < source_.size() ? source_[end] : '\0';
      if (sign == '-' || sign == '+')
        ++end;
      else
        sign = '\0';
      if (!skip_word(end, "endraw")) continue;
      const char close_sign = end < source_.size() ? source_[end] : '\0';
      if (close_sign == '-' || close_sign == '+') ++end;
      if (source_.compare(end, 2, "%}") != 0) continue;
      add_data(stripped(std::string_view(source_).substr(begin, tag - begin), '%', sign));
      close(end, close_sign == '-', close_sign != '+');
      return true;
    }
    fail(ErrorKind::kSyntax, "line {}: '{{% raw %}}' is not closed by '{{% endraw %}}'", line_);
  }

  bool skip_word(size_t& at, std::string_view word) const {
    const auto skip_space = [&] {
      while (at < source_.size() && is_space(static_cast<unsigned char>(source_[at]) & 0x7F)) ++at;
    };
    skip_space();
    if (source_.compare(at, word.size(), word) != 0) return false;
    at += word.size();
    skip_space();
    return true;
  }

  void lex_tag(char type) {
    add(type == '{' ? Kind::kVariableBegin : Kind::kBlockBegin, "");
    const std::string_view closing = type == '{' ? "}}" : "%}";
    while (true) {
      skip_blanks();
      if (at_ >= source_.size())
        fail(ErrorKind::kSyntax, "line {}: a tag is not closed by '{}'", line_, closing);
      if (brackets_.empty() && lex_close(type, closing)) return;
      lex_token();
    }
  }

  bool lex_close(char type, std::string_view closing) {
    const char sign = peek();
    const bool has_sign =
        (sign == '-' || (sign == '+' && type == '%')) && source_.compare(at_ + 1, 2, closing) == 0;
    if (!has_sign && !starts_with(closing)) return false;
    add(type == '{' ? Kind::kVariableEnd : Kind::kBlockEnd, "");
    close(at_ + (has_sign ? 1 : 0), has_sign && sign == '-', type == '%' && !has_sign);
    return true;
  }

  void skip_blanks() {
    size_t at = at_;
    while (at < source_.size() && (source_[at] & 0x80) == 0 &&
           is_space(static_cast<unsigned char>(source_[at])))
      ++at;
    move_to(at);
  }

  void lex_token() {
    const char c = peek();
    if (is_name_start(c)) {
      size_t end = at_;
      while (end < source_.size() && is_name_part(source_[end])) ++end;
      add(Kind::kName, source_.substr(at_, end - at_));
      move_to(end);
    } else if (is_digit(c)) {
      lex_number();
    } else if (c == '\'' || c == '"') {
      lex_string(c);
    } else {
      lex_operator();
    }
  }

  size_t skip_digits(size_t at) const {
    while (at < source_.size() && (is_digit(source_[at]) || (source_[at] == '_' && at + 1 < source_.size() &&
                                                             is_digit(source_[at + 1]))))
      ++at;
    return at;
  }

  void lex_number() {
    if (lex_prefixed_integer()) return;
    size_t end = skip_digits(at_);
    bool is_float = false;
    if (end + 1 < source_.size() && source_[end] == '.' && is_digit(source_[end + 1])) {
      is_float = true;
      end = skip_digits(end + 1);
    }
    if (end < source_.size() && (source_[end] == 'e' || source_[end] == 'E')) {
      size_t digits = end + 1;
      if (digits < source_.size() && (source_[digits] == '+' || source_[digits] == '-')) ++digits;
      if (digits < source_.size() && is_digit(source_[digits])) {
        is_float = true;
        end = skip_digits(digits);
      }
    }
    add_number(at_, end, is_float ? 0 : 10);
  }

  bool lex_prefixed_integer() {
    const char kind = static_cast<char>(peek(1) | 0x20);
    const int base = peek() != '0' ? 0 : kind == 'x' ? 16 : kind == 'o' ? 8 : kind == 'b' ? 2 : 0;
    if (base == 0) return false;
    size_t end = at_ + 2;
    while (end < source_.size() &&
           (std::isxdigit(static_cast<unsigned char>(source_[end])) != 0 || source_[end] == '_'))
      ++end;
    if (end == at_ + 2) return false;
    add_number(at_ + 2, end, base);
    return true;
  }

  void add_number(size_t begin, size_t end, int base) {  // base 0: a float
    std::string digits = source_.substr(begin, end - begin);
    std::erase(digits, '_');
    add(base == 0 ? Kind::kFloat : Kind::kInteger, "");
    Token& token = tokens_.back();
    const char* last = digits.data() + digits.size();
    const auto result = base == 0 ? std::from_chars(digits.data(), last, token.real)
                                  : std::from_chars(digits.data(), last, token.integer, base);
    if (result.ec == std::errc::result_out_of_range) {
      fail(ErrorKind::kArithmetic, "line {}: the number {} is too large", line_, core::printable(digits, 40));
    }
    if (result.ec != std::errc{} || result.ptr != last)
      fail(ErrorKind::kSyntax, "line {}: bad number {}", line_, core::printable(digits, 40));
    move_to(end);
  }

  void lex_string(char mark) {
    size_t at = at_ + 1;
    while (at < source_.size() && source_[at] != mark) at += source_[at] == '\\' ? 2 : 1;
    if (at >= source_.size()) fail(ErrorKind::kSyntax, "line {}: a string is not closed", line_);
    add(Kind::kString, unescape(std::string_view(source_).substr(at_ + 1, at - at_ - 1)));
    move_to(at + 1);
  }

  char32_t hex(std::string_view text, size_t at, size_t digits) const {
    uint32_t value = 0;
    const char* first = text.data() + at;
    if (at + digits > text.size() ||
        std::from_chars(first, first + digits, value, 16).ptr != first + digits || value > 0x10FFFF ||
        (value >= 0xD800 && value < 0xE000)) {
      fail(ErrorKind::kSyntax, "line {}: bad \\x, \\u or \\U escape in a string", line_);
    }
    return value;
  }

  std::string unescape(std::string_view text) const {
    static constexpr std::string_view kFrom = "abfnrtv\\'\"";
    static constexpr std::string_view kTo = "\a\b\f\n\r\t\v\\'\"";
    std::string out;
    for (size_t i = 0; i < text.size(); ++i) {
      if (text[i] != '\\' || i + 1 == text.size()) {
        out += text[i];
        continue;
      }
      const char c = text[++i];
      if (const size_t simple = kFrom.find(c); simple != std::string_view::npos) {
        out += kTo[simple];
      } else if (c == 'x' || c == 'u' || c == 'U') {
        const size_t digits = c == 'x' ? 2 : c == 'u' ? 4 : 8;
        append_utf8(out, hex(text, i + 1, digits));
        i += digits;
      } else if (c >= '0' && c <= '7') {
        char32_t value = 0;
        size_t digits = 0;
        while (digits < 3 && i + digits < text.size() && text[i + digits] >= '0' && text[i + digits] <= '7') {
          value = value * 8 + static_cast<char32_t>(text[i + digits++] - '0');
        }
        append_utf8(out, value);
        i += digits - 1;
      } else if (c == 'N') {
        fail(ErrorKind::kUnsupported, "line {}: \\N escapes are not supported; write \\u", line_);
      } else if (c != '\n') {
        out += '\\';
        out += c;
      }
    }
    return out;
  }

  void lex_operator() {
    static constexpr std::array<std::string_view, 7> kLong = {"//", "**", "==", "!=", ">=", "<=", ""};
    static constexpr std::string_view kShort = "+-/*%~[](){}><=.:|,;";
    const char c = peek();
    for (const std::string_view op : kLong) {
      if (op.empty() || !starts_with(op)) continue;
      add(Kind::kOperator, std::string(op));
      move_to(at_ + op.size());
      return;
    }
    if (kShort.find(c) == std::string_view::npos) {
      fail(ErrorKind::kSyntax, "line {}: unexpected character '{}'", line_,
           core::printable(std::string_view(&c, 1)));
    }
    balance(c);
    add(Kind::kOperator, std::string(1, c));
    move_to(at_ + 1);
  }

  void balance(char c) {
    if (c == '(' || c == '[' || c == '{') brackets_ += c == '(' ? ')' : c == '[' ? ']' : '}';
    if (c != ')' && c != ']' && c != '}') return;
    if (brackets_.empty() || brackets_.back() != c)
      fail(ErrorKind::kSyntax, "line {}: unexpected '{}'", line_, c);
    brackets_.pop_back();
  }

  std::string source_;
  size_t at_ = 0;
  int line_ = 1;
  bool line_starting_ = true;  // is the text after the last tag at the start of a line?
  std::string brackets_;       // closing brackets that are still due
  std::vector<Token> tokens_;
};

}  // namespace

std::vector<Token> tokenize(std::string_view source) {
  return Lexer(source).run();
}

}  // namespace phalanx::data::jinja
