#include "data/tokenizer_normalizer.h"

#include <utf8proc.h>

#include <cstring>
#include <vector>

#include "data/pre_tokenizer_tables.h"

namespace phalanx::data {

namespace {

bool is_conjoining_jamo(uint32_t c) {
  return (c >= 0x1161 && c <= 0x1175) || (c >= 0x11A8 && c <= 0x11C2);
}

bool is_unordered(uint32_t c) {
  return ClassTable::get()[c] & kUnorderedMark;
}

/// True where a text may be cut without changing its normal form: no character before `c` can combine with
/// it.
bool begins_segment(uint32_t c) {
  if (c < 0x300 || is_unordered(c)) return true;
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

class Normalizer {
 public:
  /// Normal form of one segment; valid until the next call.
  std::string_view run(std::string_view segment) {
    characters_.resize(segment.size() * 4 + 8);
    const auto decompose = [&] {
      return utf8proc_decompose(reinterpret_cast<const utf8proc_uint8_t*>(segment.data()),
                                static_cast<utf8proc_ssize_t>(segment.size()), characters_.data(),
                                static_cast<utf8proc_ssize_t>(characters_.size() - 1), kForm);
    };
    utf8proc_ssize_t length = decompose();
    if (length >= static_cast<utf8proc_ssize_t>(characters_.size())) {
      characters_.resize(static_cast<size_t>(length) + 8);
      length = decompose();
    }
    if (length < 0) return segment;  // cannot be: the text is valid UTF-8
    length = utf8proc_normalize_utf32(characters_.data(), length, kForm);
    text_.clear();
    for (utf8proc_ssize_t i = 0; i < length; ++i) {
      utf8proc_uint8_t bytes[4];
      text_.append(reinterpret_cast<char*>(bytes),
                   static_cast<size_t>(utf8proc_encode_char(characters_[i], bytes)));
    }
    return text_;
  }

 private:
  static constexpr auto kForm = static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE);
  std::vector<utf8proc_int32_t> characters_;
  std::string text_;
};

}  // namespace

std::optional<EditedText> normalize_nfc(std::string_view text) {
  if (is_ascii(text)) return std::nullopt;
  std::optional<EditedText> edited;
  Normalizer normalizer;
  const char* const end = text.data() + text.size();
  const char* unchanged = text.data();
  for (const char* p = text.data(); p < end;) {
    const char* const begin = p;
    const bool is_alone = is_unordered(next_code_point(p));
    const char* next = p;
    while (!is_alone && p < end && !begins_segment(next_code_point(next))) p = next;
    const std::string_view segment(begin, static_cast<size_t>(p - begin));
    if (is_alone || segment.size() == 1) continue;
    const std::string_view normal = normalizer.run(segment);
    if (normal == segment) continue;
    if (!edited) edited.emplace();
    edited->copy({unchanged, static_cast<size_t>(begin - unchanged)});
    edited->replace(normal, segment.size());
    unchanged = p;
  }
  if (edited) edited->copy({unchanged, static_cast<size_t>(end - unchanged)});
  return edited;
}

}  // namespace phalanx::data
