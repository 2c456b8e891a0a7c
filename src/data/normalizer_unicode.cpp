#include <utf8proc.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "data/normalizer.h"
#include "data/normalizer_tables.h"
#include "data/pre_tokenizer_tables.h"

namespace phalanx::data {

namespace {

bool is_conjoining_jamo(uint32_t c) {
  return (c >= 0x1161 && c <= 0x1175) || (c >= 0x11A8 && c <= 0x11C2);
}

/// Characters that are newer than the reference's normal forms, which leave them as they are.
bool stays_as_it_is(uint32_t c) {
  return (ClassTable::get()[c] & kUnorderedMark) || contains(kUndecomposed, c);
}

/// True where a text may be cut without changing its normal form: no character before `c` can combine with
/// it.
bool begins_segment(uint32_t c) {
  if (c < 0x300 || stays_as_it_is(c)) return true;
  const utf8proc_property_t* property = utf8proc_get_property(static_cast<utf8proc_int32_t>(c));
  const bool is_second = property->comb_index != UINT16_MAX && (property->comb_index & 0x8000) != 0;
  const bool decomposes = property->decomp_seqindex != UINT16_MAX;
  return property->combining_class == 0 && !is_second && !decomposes && !is_conjoining_jamo(c);
}

bool is_ascii(std::string_view text) {
  size_t i = 0;
  for (; i + 8 <= text.size(); i += 8) {
    uint64_t bytes;
    std::memcpy(&bytes, text.data() + i, 8);
    if (bytes & 0x8080808080808080u) return false;
  }
  for (; i < text.size(); ++i) {
    if (static_cast<uint8_t>(text[i]) >= 0x80) return false;
  }
  return true;
}

/// The bytes of the whole characters that both begin with.
size_t shared_characters(std::string_view a, std::string_view b) {
  const size_t shorter = std::min(a.size(), b.size());
  size_t shared = 0;
  while (shared < shorter && a[shared] == b[shared]) ++shared;
  while (shared > 0 && shared < std::max(a.size(), b.size()) &&
         ((shared < a.size() && (a[shared] & 0xC0) == 0x80) ||
          (shared < b.size() && (b[shared] & 0xC0) == 0x80)))
    --shared;
  return shared;
}

/// Runs segments through utf8proc.
class SegmentForm {
 public:
  explicit SegmentForm(utf8proc_option_t form) : form_(form) {}

  /// Normal form of one segment; valid until the next call.
  std::string_view run(std::string_view segment) {
    characters_.resize(segment.size() * 4 + 8);
    const auto decompose = [&] {
      return utf8proc_decompose(reinterpret_cast<const utf8proc_uint8_t*>(segment.data()),
                                static_cast<utf8proc_ssize_t>(segment.size()), characters_.data(),
                                static_cast<utf8proc_ssize_t>(characters_.size() - 1), form_);
    };
    utf8proc_ssize_t length = decompose();
    if (length >= static_cast<utf8proc_ssize_t>(characters_.size())) {
      characters_.resize(static_cast<size_t>(length) + 8);
      length = decompose();
    }
    if (length < 0) return segment;  // cannot be: the text is valid UTF-8
    if (form_ & UTF8PROC_COMPOSE) length = utf8proc_normalize_utf32(characters_.data(), length, form_);
    text_.clear();
    for (utf8proc_ssize_t i = 0; i < length; ++i) {
      utf8proc_uint8_t bytes[4];
      text_.append(reinterpret_cast<char*>(bytes),
                   static_cast<size_t>(utf8proc_encode_char(characters_[static_cast<size_t>(i)], bytes)));
    }
    return text_;
  }

 private:
  utf8proc_option_t form_;
  std::vector<utf8proc_int32_t> characters_;
  std::string text_;
};

/// NFC, NFD, NFKC or NFKD.
class UnicodeForm : public Normalizer {
 public:
  explicit UnicodeForm(int options) : form_(static_cast<utf8proc_option_t>(options)) {}

  std::optional<EditedText> apply(std::string_view text) const override {
    if (is_ascii(text)) return std::nullopt;
    EditBuilder edited(text);
    SegmentForm form(form_);
    const char* const end = text.data() + text.size();
    for (const char* p = text.data(); p < end;) {
      const char* const begin = p;
      const bool is_alone = stays_as_it_is(next_code_point(p));
      const char* next = p;
      while (!is_alone && p < end && !begins_segment(next_code_point(next))) p = next;
      const std::string_view segment(begin, static_cast<size_t>(p - begin));
      if (is_alone || segment.size() == 1) continue;
      const std::string_view normal = form.run(segment);
      if (normal == segment) continue;
      // What stays is not replaced: the reference knows where each character comes from.
      const size_t shared = shared_characters(segment, normal);
      edited.replace(segment.substr(shared), normal.substr(shared));
    }
    return edited.finish();
  }

 private:
  utf8proc_option_t form_;
};

std::string encode_utf8(uint32_t c) {
  utf8proc_uint8_t bytes[4];
  const auto length = utf8proc_encode_char(static_cast<utf8proc_int32_t>(c), bytes);
  return {reinterpret_cast<char*>(bytes), static_cast<size_t>(length)};
}

/// Full lower case, character by character.
class Lowercase : public Normalizer {
 public:
  std::optional<EditedText> apply(std::string_view text) const override {
    return edit_characters(text, [&](EditBuilder& edited, std::string_view character, uint32_t c) {
      if (c < 0x80) {
        const char lower = static_cast<char>(c + ('a' - 'A'));
        if (c >= 'A' && c <= 'Z') edited.replace(character, {&lower, 1});
        return;
      }
      const auto odd =
          std::lower_bound(kLowerCases.begin(), kLowerCases.end(), c,
                           [](const LowerCase& l, uint32_t value) { return l.code_point < value; });
      if (odd != kLowerCases.end() && odd->code_point == c) {
        edited.replace(character, odd->lower);
      } else if (const auto lower = utf8proc_tolower(static_cast<utf8proc_int32_t>(c));
                 lower != static_cast<utf8proc_int32_t>(c)) {
        edited.replace(character, encode_utf8(static_cast<uint32_t>(lower)));
      }
    });
  }
};

/// Removes the characters of a set.
class RemoveCharacters : public Normalizer {
 public:
  explicit RemoveCharacters(std::span<const CodeRange> set) : set_(set) {}

  std::optional<EditedText> apply(std::string_view text) const override {
    return edit_characters(text, [&](EditBuilder& edited, std::string_view character, uint32_t c) {
      if (contains(set_, c)) edited.replace(character, "");
    });
  }

 private:
  std::span<const CodeRange> set_;
};

/// clean_text and handle_chinese_chars of the original BERT tokenizer.
class BertCleaning : public Normalizer {
 public:
  BertCleaning(bool clean_text, bool handle_chinese_chars)
      : clean_text_(clean_text), handle_chinese_chars_(handle_chinese_chars) {}

  std::optional<EditedText> apply(std::string_view text) const override {
    return edit_characters(text, [&](EditBuilder& edited, std::string_view character, uint32_t c) {
      if (clean_text_ && contains(kBertControls, c)) {
        edited.replace(character, "");
      } else if (clean_text_ && contains(kBertSpaces, c)) {
        edited.replace(character, " ");
      } else if (handle_chinese_chars_ && contains(kBertChinese, c)) {
        edited.replace(character, fmt::format(" {} ", character));
      }
    });
  }

 private:
  bool clean_text_, handle_chinese_chars_;
};

constexpr int kComposed = UTF8PROC_STABLE | UTF8PROC_COMPOSE;
constexpr int kDecomposed = UTF8PROC_STABLE | UTF8PROC_DECOMPOSE;

}  // namespace

void add_unicode_form(const JsonValue& value, Normalizers& chain) {
  value.allow_keys({"type"});
  const bool composed = value.type().back() == 'C';
  const bool compatible = value.type().starts_with("NFK");
  chain.push_back(std::make_unique<UnicodeForm>((composed ? kComposed : kDecomposed) |
                                                (compatible ? UTF8PROC_COMPAT : 0)));
}

void add_lowercase(const JsonValue& value, Normalizers& chain) {
  value.allow_keys({"type"});
  chain.push_back(std::make_unique<Lowercase>());
}

void add_strip_accents(const JsonValue& value, Normalizers& chain) {
  value.allow_keys({"type"});
  chain.push_back(std::make_unique<RemoveCharacters>(kAccents));
}

void add_bert_normalizer(const JsonValue& value, Normalizers& chain) {
  value.allow_keys({"type", "clean_text", "handle_chinese_chars", "strip_accents", "lowercase"});
  const bool lowercase = value.at("lowercase").boolean();
  chain.push_back(std::make_unique<BertCleaning>(value.at("clean_text").boolean(),
                                                 value.at("handle_chinese_chars").boolean()));
  if (value.flag("strip_accents", lowercase)) {
    chain.push_back(std::make_unique<UnicodeForm>(kDecomposed));
    chain.push_back(std::make_unique<RemoveCharacters>(kBertAccents));
  }
  if (lowercase) chain.push_back(std::make_unique<Lowercase>());
}

}  // namespace phalanx::data
