#pragma once
#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "data/pre_tokenizer_tables.h"

namespace phalanx::data {

/// What a tokenizer's own rules may make of a text: one rule 16 times as many bytes as it has read, all of
/// them together 64 times as many, and 1 MiB more. (The largest of Unicode's normal forms has 11 times as
/// many.) A few rules that each double a text would fill any memory.
inline constexpr uint64_t kMaxRuleGrowth = 16, kMaxGrowth = 64, kAllowedGrowthBytes = uint64_t{1} << 20;
[[noreturn]] void fail_growth(uint64_t bytes, uint64_t source_bytes, uint64_t times);
/// @throws TokenizerError kTooLarge if `bytes` made of `source_bytes` are more than `times` as many and 1
/// MiB.
inline void check_growth(uint64_t bytes, uint64_t source_bytes, uint64_t times) {
  if (bytes > kAllowedGrowthBytes + source_bytes * times) fail_growth(bytes, source_bytes, times);
}

/// A changed copy of a text, and where its bytes come from. @throws TokenizerError kTooLarge (check_growth).
class EditedText {
 public:
  const std::string& text() const { return text_; }

  void copy(std::string_view unchanged) {
    text_ += unchanged;
    source_end_ += static_cast<uint32_t>(unchanged.size());
  }

  /// Puts `replacement` where the source has its next `num_source_bytes`.
  void replace(std::string_view replacement, size_t num_source_bytes) {
    const auto begin = static_cast<uint32_t>(text_.size());
    text_ += replacement;
    edits_.push_back({begin, static_cast<uint32_t>(text_.size()), source_end_,
                      source_end_ + static_cast<uint32_t>(num_source_bytes)});
    source_end_ += static_cast<uint32_t>(num_source_bytes);
    check_growth(text_.size(), source_end_, kMaxRuleGrowth);
  }

  /// The bytes of the source that [begin, end) of the new text stands for; a part of a replacement stands for
  /// the whole of what it replaced. A binary search: O(log edits).
  std::pair<uint32_t, uint32_t> to_source(uint32_t begin, uint32_t end) const {
    const uint32_t source_begin = map(begin, /*is_end=*/false);
    return {source_begin,
            std::max(source_begin, map(end, /*is_end=*/true))};  // nothing between two changes: empty
  }

 private:
  struct Edit {
    uint32_t begin, end, source_begin, source_end;
  };

  uint32_t map(uint32_t at, bool is_end) const {
    // the last edit that begins before `at` (for a begin: at or before it)
    const auto starts_after = [&](uint32_t place, const Edit& edit) {
      return is_end ? place <= edit.begin : place < edit.begin;
    };
    const auto behind = std::upper_bound(edits_.begin(), edits_.end(), at, starts_after);
    if (behind == edits_.begin()) return at;
    const Edit& edit = *std::prev(behind);
    if (is_end ? at <= edit.end : at < edit.end) return is_end ? edit.source_end : edit.source_begin;
    return at - edit.end + edit.source_end;
  }

  std::string text_;
  std::vector<Edit> edits_;
  uint32_t source_end_ = 0;
};

/// Collects changes of a text from left to right; what lies between two of them is copied.
class EditBuilder {
 public:
  explicit EditBuilder(std::string_view text) : text_(text) {}

  /// `part` of the text becomes `replacement`.
  void replace(std::string_view part, std::string_view replacement) {
    const auto begin = static_cast<size_t>(part.data() - text_.data());
    if (!edited_) edited_.emplace();
    edited_->copy(text_.substr(done_, begin - done_));
    edited_->replace(replacement, part.size());
    done_ = begin + part.size();
  }

  /// The changed text, or nothing when there was no change.
  std::optional<EditedText> finish() {
    if (edited_) edited_->copy(text_.substr(done_));
    return std::move(edited_);
  }

 private:
  std::string_view text_;
  size_t done_ = 0;
  std::optional<EditedText> edited_ = {};
};

/// Calls edit(EditBuilder&, character, its code point) for every character of the text.
template <class Edit>
std::optional<EditedText> edit_characters(std::string_view text, const Edit& edit) {
  EditBuilder edited(text);
  const char* const end = text.data() + text.size();
  for (const char* p = text.data(); p < end;) {
    const char* const begin = p;
    const uint32_t c = next_code_point(p);
    edit(edited, std::string_view(begin, static_cast<size_t>(p - begin)), c);
  }
  return edited.finish();
}

}  // namespace phalanx::data
