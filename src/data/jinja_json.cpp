#include <fmt/format.h>

#include <algorithm>

#include "data/jinja_library.h"
#include "data/jinja_text.h"

namespace phalanx::data::jinja {

namespace {

struct Style {
  int64_t indent = -1;  // below 0: one line
  bool ensure_ascii = false;
  bool sort_keys = false;
  std::string_view item_separator = ", ";
  std::string_view key_separator = ": ";
};

void append_escape(std::string& out, char32_t c) {
  switch (c) {
    case '"':
      out += "\\\"";
      return;
    case '\\':
      out += "\\\\";
      return;
    case '\n':
      out += "\\n";
      return;
    case '\r':
      out += "\\r";
      return;
    case '\t':
      out += "\\t";
      return;
    case '\f':
      out += "\\f";
      return;
    case '\b':
      out += "\\b";
      return;
    default:
      break;
  }
  if (c > 0xFFFF) {
    out += fmt::format("\\u{:04x}", 0xD800 + ((static_cast<uint32_t>(c) - 0x10000) >> 10));
    c = 0xDC00 + ((c - 0x10000) & 0x3FF);
  }
  out += fmt::format("\\u{:04x}", static_cast<uint32_t>(c));
}

void write_text(std::string& out, const std::string& text, bool ensure_ascii) {
  out += '"';
  if (ensure_ascii) {
    for (const char32_t c : to_code_points(text)) {
      if (c < 0x20 || c == '"' || c == '\\' || c > 0x7E) {
        append_escape(out, c);
      } else {
        out += static_cast<char>(c);
      }
    }
  } else {
    for (const char c : text) {
      if (static_cast<unsigned char>(c) < 0x20 || c == '"' || c == '\\') {
        append_escape(out, static_cast<unsigned char>(c));
      } else {
        out += c;
      }
    }
  }
  out += '"';
}

class Writer {
 public:
  explicit Writer(const Style& style) : style_(style) {}

  std::string out;

  void write(const Value& value, int64_t level) {
    if (value.is_text()) {
      write_text(out, value.text(), style_.ensure_ascii);
    } else if (value.is_none()) {
      out += "null";
    } else if (value.is_bool()) {
      out += value.boolean() ? "true" : "false";
    } else if (value.is_int()) {
      out += std::to_string(value.integer());
    } else if (value.is_double()) {
      out += number(to_double(value));
    } else if (value.is_list()) {
      write_items(value.items().size(), '[', ']', level,
                  [&](size_t i) { write(value.items()[i], level + 1); });
    } else if (value.is_dict()) {
      write_dict(value.dict(), level);
    } else {
      fail(value.is_undefined() ? ErrorKind::kUndefined : ErrorKind::kType,
           "a value of type {} has no JSON form", type_name(value));
    }
  }

 private:
  static std::string number(double value) {
    const std::string text = format_double(value);
    return text == "nan" ? "NaN" : text == "inf" ? "Infinity" : text == "-inf" ? "-Infinity" : text;
  }

  static std::string key_text(const Value& key) {
    if (key.is_text()) return key.text();
    if (key.is_none()) return "null";
    if (key.is_bool()) return key.boolean() ? "true" : "false";
    if (key.is_double()) return number(to_double(key));
    if (key.is_int()) return std::to_string(key.integer());
    fail(ErrorKind::kType, "a key of type {} has no JSON form", type_name(key));
  }

  void write_dict(const Dict& dict, int64_t level) {
    std::vector<const std::pair<Value, Value>*> items;
    for (const auto& item : dict.items()) items.push_back(&item);
    if (style_.sort_keys) {
      std::stable_sort(items.begin(), items.end(),
                       [](const auto* a, const auto* b) { return less(a->first, b->first); });
    }
    write_items(items.size(), '{', '}', level, [&](size_t i) {
      write_text(out, key_text(items[i]->first), style_.ensure_ascii);
      out += style_.key_separator;
      write(items[i]->second, level + 1);
    });
  }

  template <typename Item>
  void write_items(size_t count, char open, char close, int64_t level, Item item) {
    out += open;
    for (size_t i = 0; i < count; ++i) {
      if (i > 0) out += style_.item_separator;
      if (style_.indent >= 0)
        out += "\n" + std::string(static_cast<size_t>(style_.indent * (level + 1)), ' ');
      item(i);
    }
    if (count > 0 && style_.indent >= 0)
      out += "\n" + std::string(static_cast<size_t>(style_.indent * level), ' ');
    out += close;
  }

  Style style_;
};

}  // namespace

std::string to_json(const Value& value, int64_t indent, bool ensure_ascii, bool sort_keys,
                    std::string_view item_separator, std::string_view key_separator) {
  Writer writer(Style{indent, ensure_ascii, sort_keys, item_separator, key_separator});
  writer.write(value, 0);
  return std::move(writer.out);
}

std::string to_json(const Value& value) {
  return to_json(value, -1, false, false, ", ", ": ");
}

}  // namespace phalanx::data::jinja
