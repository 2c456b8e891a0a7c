#include "data/bpe_alphabet.h"
#include "data/normalizer.h"
#include "data/pre_tokenizer_tables.h"
#include "data/text_pattern.h"

namespace phalanx::data {

namespace {

bool is_white_space(uint32_t c) {
  return ClassTable::get()[c] & kSpace;
}

class Replace : public Normalizer {
 public:
  Replace(TextPattern pattern, std::string content)
      : pattern_(std::move(pattern)), content_(std::move(content)) {}

  std::optional<EditedText> apply(std::string_view text) const override {
    EditBuilder edited(text);
    pattern_.for_each_match(text, 0, text.size(), [&](size_t begin, size_t end) {
      edited.replace(text.substr(begin, end - begin), content_);
    });
    return edited.finish();
  }

 private:
  TextPattern pattern_;
  std::string content_;
};

/// Puts something before a text that is not empty.
class Prepend : public Normalizer {
 public:
  explicit Prepend(std::string content) : content_(std::move(content)) {}

  std::optional<EditedText> apply(std::string_view text) const override {
    if (text.empty() || content_.empty()) return std::nullopt;
    EditBuilder edited(text);
    edited.replace(text.substr(0, 0), content_);
    return edited.finish();
  }

 private:
  std::string content_;
};

/// Takes whitespace away at the ends.
class Strip : public Normalizer {
 public:
  Strip(bool left, bool right) : left_(left), right_(right) {}

  std::optional<EditedText> apply(std::string_view text) const override {
    const char* begin = text.data();
    const char* end = text.data() + text.size();
    for (const char* next = begin; left_ && begin < end && is_white_space(next_code_point(next));)
      begin = next;
    while (right_ && begin < end) {
      const char* const last = previous_character(end);
      const char* p = last;
      if (!is_white_space(next_code_point(p))) break;
      end = last;
    }
    EditBuilder edited(text);
    const auto head = static_cast<size_t>(begin - text.data());
    const auto tail = static_cast<size_t>(end - text.data());
    if (head > 0) edited.replace(text.substr(0, head), "");
    if (tail < text.size()) edited.replace(text.substr(tail), "");
    return edited.finish();
  }

 private:
  bool left_, right_;
};

/// Writes each byte as its character of the byte-level alphabet.
class ByteLevelNormalizer : public Normalizer {
 public:
  std::optional<EditedText> apply(std::string_view text) const override {
    return edit_characters(text, [](EditBuilder& edited, std::string_view character, uint32_t) {
      if (character.size() > 1 || character[0] <= ' ' || character[0] == '\x7F')
        edited.replace(character, to_byte_level(character));
    });
  }
};

}  // namespace

void add_replace(const JsonValue& value, Normalizers& chain) {
  value.allow_keys({"type", "pattern", "content"});
  chain.push_back(std::make_unique<Replace>(TextPattern(value.at("pattern"), value.file()),
                                            std::string(value.at("content").text())));
}

void add_prepend(const JsonValue& value, Normalizers& chain) {
  value.allow_keys({"type", "prepend"});
  chain.push_back(std::make_unique<Prepend>(std::string(value.at("prepend").text())));
}

void add_strip(const JsonValue& value, Normalizers& chain) {
  value.allow_keys({"type", "strip_left", "strip_right"});
  chain.push_back(
      std::make_unique<Strip>(value.at("strip_left").boolean(), value.at("strip_right").boolean()));
}

void add_byte_level_normalizer(const JsonValue& value, Normalizers& chain) {
  value.allow_keys({"type"});
  chain.push_back(std::make_unique<ByteLevelNormalizer>());
}

}  // namespace phalanx::data
