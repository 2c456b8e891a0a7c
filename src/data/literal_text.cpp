#include "data/literal_text.h"

#include <algorithm>

#include "core/error.h"
#include "data/jinja_text.h"

namespace phalanx::data {
namespace {

using jinja::Value;

/// Calls `visit` for every text inside `value`; true as soon as one call is.
template <typename Visit>
bool any_text(const Value& value, Visit& visit) {
  if (value.is_text()) return visit(value.text());
  if (value.is_list()) {
    return std::any_of(value.items().begin(), value.items().end(),
                       [&](const Value& item) { return any_text(item, visit); });
  }
  if (!value.is_dict()) return false;
  const auto& items = value.dict().items();
  return std::any_of(items.begin(), items.end(), [&](const auto& item) {
    return any_text(item.first, visit) || any_text(item.second, visit);
  });
}

template <typename Map>
Value map_texts(const Value& value, Map& map) {
  if (value.is_text()) return Value(map(value.text()));
  if (value.is_list()) {
    std::vector<Value> items;
    for (const Value& item : value.items()) items.push_back(map_texts(item, map));
    return Value(std::move(items));
  }
  if (!value.is_dict()) return value;
  jinja::Dict dict;
  for (const auto& [key, item] : value.dict().items()) dict.set(key, map_texts(item, map));
  return Value(std::move(dict));
}

std::string choose_mark(const Value& value) {
  for (char32_t c = 0xFDD0; c <= 0xFDEF; ++c) {
    std::string mark;
    jinja::append_utf8(mark, c);
    auto has_mark = [&](const std::string& text) { return text.find(mark) != std::string::npos; };
    if (!any_text(value, has_mark)) return mark;
  }
  core::fail(core::ExitCode::kBadInput,
             "the record contains every noncharacter from U+FDD0 to U+FDEF, so special-token text in it "
             "cannot be kept literal");
}

/// Removes `mark` everywhere; `removed[i]` is where the i-th stood in the result.
std::string without_marks(std::string_view text, const std::string& mark, std::vector<size_t>& removed) {
  std::string out;
  size_t begin = 0;
  for (size_t at = text.find(mark); at != std::string_view::npos; at = text.find(mark, begin)) {
    out += text.substr(begin, at - begin);
    removed.push_back(out.size());
    begin = at + mark.size();
  }
  return out += text.substr(begin);
}

/// A position of the marked text in the text without marks.
size_t unmarked(size_t position, const std::string& marked, const std::string& mark) {
  size_t count = 0;
  for (size_t at = marked.find(mark); at != std::string::npos && at < position;
       at = marked.find(mark, at + mark.size()))
    ++count;
  return position - count * mark.size();
}

}  // namespace

LiteralText::LiteralText(const Tokenizer& tokenizer) : tokenizer_(tokenizer), by_first_byte_(256) {
  for (TokenId id = 0; id < tokenizer.vocab_size(); ++id) {
    if (!tokenizer.is_special(id)) continue;
    const std::string_view text = tokenizer.token_bytes(id);
    if (!text.empty()) by_first_byte_[static_cast<unsigned char>(text[0])].emplace_back(text);
  }
  for (auto& texts : by_first_byte_) {
    std::sort(texts.begin(), texts.end(),
              [](const std::string& a, const std::string& b) { return a.size() > b.size(); });
  }
}

size_t LiteralText::match_at(std::string_view text, size_t at) const {
  for (const std::string& special : by_first_byte_[static_cast<unsigned char>(text[at])]) {
    if (text.substr(at).starts_with(special)) return special.size();
  }
  return 0;
}

bool LiteralText::is_in(std::string_view text) const {
  for (size_t at = 0; at < text.size(); ++at) {
    if (match_at(text, at) > 0) return true;
  }
  return false;
}

bool LiteralText::is_in(const Value& value) const {
  auto visit = [&](const std::string& text) { return is_in(std::string_view(text)); };
  return any_text(value, visit);
}

std::string LiteralText::protect(std::string_view text, const std::string& mark) const {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const size_t length = std::max<size_t>(1, core::utf8_length(text.substr(at)));
    out += text.substr(at, length);
    if (match_at(text, at) > 0) out += mark;
    at += length;
  }
  return out;
}

Value LiteralText::protect(const Value& value, std::string* mark) const {
  *mark = choose_mark(value);
  auto map = [&](const std::string& text) { return protect(text, *mark); };
  return map_texts(value, map);
}

Tokenizer::Encoding LiteralText::encode(std::string& text, const std::string& mark,
                                        std::vector<ByteRange>& spans) const {
  const Tokenizer::Encoding parsed = tokenizer_.encode_with_ranges(text);
  Tokenizer::Encoding encoding;
  std::string out;
  size_t done = 0;  // of the marked text
  const auto add_plain = [&](size_t end) {
    std::vector<size_t> removed;
    const std::string plain = without_marks(std::string_view(text).substr(done, end - done), mark, removed);
    const Tokenizer::Encoding part = tokenizer_.encode_with_ranges(plain, SpecialText::kLiteral);
    encoding.ids.insert(encoding.ids.end(), part.ids.begin(), part.ids.end());
    const auto shift = static_cast<uint32_t>(out.size());
    for (const auto& [begin, last] : part.byte_ranges)
      encoding.byte_ranges.emplace_back(begin + shift, last + shift);
    out += plain;
  };
  for (size_t t = 0; t < parsed.ids.size(); ++t) {
    if (!tokenizer_.is_special(parsed.ids[t])) continue;
    const auto [begin, end] = parsed.byte_ranges[t];
    add_plain(begin);
    encoding.ids.push_back(parsed.ids[t]);
    encoding.byte_ranges.emplace_back(static_cast<uint32_t>(out.size()),
                                      static_cast<uint32_t>(out.size() + end - begin));
    out += text.substr(begin, end - begin);
    done = end;
  }
  add_plain(text.size());
  for (auto& [begin, end] : spans) {
    begin = unmarked(begin, text, mark);
    end = unmarked(end, text, mark);
  }
  text = std::move(out);
  return encoding;
}

}  // namespace phalanx::data
