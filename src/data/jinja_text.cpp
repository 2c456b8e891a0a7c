#include "data/jinja_text.h"

#include <fmt/format.h>
#include <utf8proc.h>

#include <algorithm>

namespace phalanx::data::jinja {

namespace {

size_t sequence_length(unsigned char lead) {
  if (lead < 0x80) return 1;
  if (lead < 0xE0) return 2;
  return lead < 0xF0 ? 3 : 4;
}

/// Decodes the code point at `at` (valid UTF-8) and moves `at` behind it.
char32_t next_code_point(std::string_view text, size_t& at) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(i < text.size() ? text[i] : 0); };
  const unsigned char lead = byte(at);
  const size_t length = sequence_length(lead);
  char32_t c = length == 1 ? lead : lead & (0xFFu >> (length + 1));
  for (size_t i = 1; i < length; ++i) c = (c << 6) | (byte(at + i) & 0x3Fu);
  at = std::min(at + length, text.size());
  return c;
}

size_t previous_start(std::string_view text, size_t end) {
  size_t at = end - 1;
  while (at > 0 && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80) --at;
  return at;
}

bool is_stripped(char32_t c, const std::optional<std::u32string>& characters) {
  return characters ? characters->find(c) != std::u32string::npos : is_space(c);
}

/// Maps every code point; `special` first gets the chance to append something longer.
template <typename Map>
std::string map_code_points(std::string_view text, Map map) {
  std::string out;
  out.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const char32_t c = next_code_point(text, at);
    if (c < 0x80) {
      out += static_cast<char>(map(c));
    } else {
      append_utf8(out, map(c));
    }
  }
  return out;
}

char32_t upper_code_point(char32_t c) {
  return static_cast<char32_t>(utf8proc_toupper(static_cast<int32_t>(c)));
}
char32_t lower_code_point(char32_t c) {
  return static_cast<char32_t>(utf8proc_tolower(static_cast<int32_t>(c)));
}

std::vector<std::string_view> split_whitespace(std::string_view text, int64_t limit) {
  std::vector<std::string_view> parts;
  while (true) {
    text = strip(text, std::nullopt, true, false);
    if (text.empty()) return parts;
    if (limit >= 0 && static_cast<int64_t>(parts.size()) == limit) {
      parts.push_back(text);
      return parts;
    }
    size_t end = 0;
    while (end < text.size()) {
      size_t next = end;
      if (is_space(next_code_point(text, next))) break;
      end = next;
    }
    parts.push_back(text.substr(0, end));
    text.remove_prefix(end);
  }
}

std::vector<std::string_view> rsplit_whitespace(std::string_view text, int64_t limit) {
  std::vector<std::string_view> parts;
  while (true) {
    text = strip(text, std::nullopt, false, true);
    if (text.empty()) break;
    if (limit >= 0 && static_cast<int64_t>(parts.size()) == limit) {
      parts.push_back(text);
      break;
    }
    size_t begin = text.size();
    while (begin > 0) {
      size_t at = previous_start(text, begin);
      size_t next = at;
      if (is_space(next_code_point(text, next))) break;
      begin = at;
    }
    parts.push_back(text.substr(begin));
    text = text.substr(0, begin);
  }
  std::reverse(parts.begin(), parts.end());
  return parts;
}

}  // namespace

int64_t count_code_points(std::string_view text) {
  return std::count_if(text.begin(), text.end(),
                       [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; });
}

std::u32string to_code_points(std::string_view text) {
  std::u32string out;
  out.reserve(text.size());
  for (size_t at = 0; at < text.size();) out += next_code_point(text, at);
  return out;
}

std::string to_utf8(std::u32string_view code_points) {
  std::string out;
  for (const char32_t c : code_points) append_utf8(out, c);
  return out;
}

void append_utf8(std::string& out, char32_t c) {
  if (c < 0x80) {
    out += static_cast<char>(c);
  } else if (c < 0x800) {
    out += static_cast<char>(0xC0 | (c >> 6));
    out += static_cast<char>(0x80 | (c & 0x3F));
  } else if (c < 0x10000) {
    out += static_cast<char>(0xE0 | (c >> 12));
    out += static_cast<char>(0x80 | ((c >> 6) & 0x3F));
    out += static_cast<char>(0x80 | (c & 0x3F));
  } else {
    out += static_cast<char>(0xF0 | (c >> 18));
    out += static_cast<char>(0x80 | ((c >> 12) & 0x3F));
    out += static_cast<char>(0x80 | ((c >> 6) & 0x3F));
    out += static_cast<char>(0x80 | (c & 0x3F));
  }
}

bool is_space(char32_t c) {
  if (c < 0x80) return (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x20);
  return c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 ||
         c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

bool is_letter_code_point(char32_t c) {
  const auto category = utf8proc_category(static_cast<int32_t>(c));
  return category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO;
}

bool is_digit_code_point(char32_t c) {
  return utf8proc_category(static_cast<int32_t>(c)) == UTF8PROC_CATEGORY_ND;
}

std::string_view strip(std::string_view text, std::optional<std::string_view> characters, bool left,
                       bool right) {
  std::optional<std::u32string> set;
  if (characters) set = to_code_points(*characters);
  size_t begin = 0;
  while (left && begin < text.size()) {
    size_t next = begin;
    if (!is_stripped(next_code_point(text, next), set)) break;
    begin = next;
  }
  size_t end = text.size();
  while (right && end > begin) {
    size_t at = previous_start(text, end);
    size_t next = at;
    if (!is_stripped(next_code_point(text, next), set)) break;
    end = at;
  }
  return text.substr(begin, end - begin);
}

std::vector<std::string_view> split(std::string_view text, std::optional<std::string_view> separator,
                                    int64_t limit) {
  if (!separator) return split_whitespace(text, limit);
  std::vector<std::string_view> parts;
  size_t begin = 0;
  while (limit < 0 || static_cast<int64_t>(parts.size()) < limit) {
    const size_t found = text.find(*separator, begin);
    if (found == std::string_view::npos) break;
    parts.push_back(text.substr(begin, found - begin));
    begin = found + separator->size();
  }
  parts.push_back(text.substr(begin));
  return parts;
}

std::vector<std::string_view> rsplit(std::string_view text, std::optional<std::string_view> separator,
                                     int64_t limit) {
  if (!separator) return rsplit_whitespace(text, limit);
  std::vector<std::string_view> parts;
  while (limit < 0 || static_cast<int64_t>(parts.size()) < limit) {
    const size_t found = text.rfind(*separator);
    if (found == std::string_view::npos) break;
    parts.push_back(text.substr(found + separator->size()));
    text = text.substr(0, found);
  }
  parts.push_back(text);
  std::reverse(parts.begin(), parts.end());
  return parts;
}

std::vector<std::string_view> split_lines(std::string_view text, bool keep_ends) {
  std::vector<std::string_view> lines;
  size_t begin = 0;
  for (size_t at = 0; at < text.size();) {
    const size_t end = at;
    const char32_t c = next_code_point(text, at);
    const bool is_break =
        (c >= 0x0A && c <= 0x0D) || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 || c == 0x2029;
    if (!is_break) continue;
    if (c == '\r' && at < text.size() && text[at] == '\n') ++at;
    lines.push_back(text.substr(begin, (keep_ends ? at : end) - begin));
    begin = at;
  }
  if (begin < text.size()) lines.push_back(text.substr(begin));
  return lines;
}

std::string replace(std::string_view text, std::string_view from, std::string_view to, int64_t limit) {
  std::string out;
  size_t begin = 0;
  if (from.empty()) {  // between all code points, as Python does
    for (size_t at = 0; limit != 0; --limit) {
      out += to;
      if (at >= text.size()) return out;
      const size_t start = at;
      next_code_point(text, at);
      out += text.substr(start, at - start);
      begin = at;
    }
    return out += text.substr(begin);
  }
  for (; limit != 0; --limit) {
    const size_t found = text.find(from, begin);
    if (found == std::string_view::npos) break;
    out += text.substr(begin, found - begin);
    out += to;
    begin = found + from.size();
  }
  return out += text.substr(begin);
}

std::string upper(std::string_view text) {
  std::string out = map_code_points(text, [](char32_t c) { return c == 0xDF ? c : upper_code_point(c); });
  return out.find("\xC3\x9F") == std::string::npos ? out : replace(out, "\xC3\x9F", "SS", -1);  // sharp s
}

std::string lower(std::string_view text) {
  return map_code_points(text, lower_code_point);
}

std::string capitalize(std::string_view text) {
  size_t first = 0;
  if (text.empty()) return "";
  next_code_point(text, first);
  return upper(text.substr(0, first)) + lower(text.substr(first));
}

std::string title(std::string_view text) {
  bool starts_word = true;
  return map_code_points(text, [&](char32_t c) {
    const char32_t mapped = starts_word ? upper_code_point(c) : lower_code_point(c);
    starts_word = is_space(c) || c == '-' || c == '(' || c == '{' || c == '[' || c == '<';
    return mapped;
  });
}

std::string quote(std::string_view text) {
  const bool has_single = text.find('\'') != std::string_view::npos;
  const char mark = has_single && text.find('"') == std::string_view::npos ? '"' : '\'';
  std::string out(1, mark);
  for (size_t at = 0; at < text.size();) {
    const char32_t c = next_code_point(text, at);
    if (c == static_cast<char32_t>(mark) || c == '\\') {
      out += '\\';
      out += static_cast<char>(c);
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\r') {
      out += "\\r";
    } else if (c == '\t') {
      out += "\\t";
    } else if (c < 0x20 || c == 0x7F || (c >= 0x80 && c <= 0xA0) || c == 0xAD) {
      out += fmt::format("\\x{:02x}", static_cast<uint32_t>(c));
    } else if (c > 0x7F &&
               (is_space(c) || utf8proc_category(static_cast<int32_t>(c)) <= UTF8PROC_CATEGORY_CN ||
                utf8proc_category(static_cast<int32_t>(c)) >= UTF8PROC_CATEGORY_ZL)) {
      out += c > 0xFFFF ? fmt::format("\\U{:08x}", static_cast<uint32_t>(c))
                        : fmt::format("\\u{:04x}", static_cast<uint32_t>(c));
    } else {
      append_utf8(out, c);
    }
  }
  return out += mark;
}

std::string escape_html(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '\'':
        out += "&#39;";
        break;
      case '"':
        out += "&#34;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

}  // namespace phalanx::data::jinja
