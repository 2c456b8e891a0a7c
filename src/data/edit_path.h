#pragma once
#include <cstdint>
#include <tuple>
#include <utility>
#include <vector>

#include "data/tokenizer_edits.h"

namespace phalanx::data {

/// The way from the text at hand back to the user's text, through every change made since.
class EditPath {
 public:
  /// The text at hand is text[begin, ...) of the user's text.
  void start(uint32_t begin) {
    edits_.clear();
    base_ = begin;
  }

  /// The text at hand became edit.text(), which must outlive its place here.
  void push(const EditedText* edit) { edits_.emplace_back(edit, std::exchange(base_, 0)); }
  void pop() {
    base_ = edits_.back().second;
    edits_.pop_back();
  }
  size_t size() const { return edits_.size(); }

  /// The text at hand is a part of that before, which begins at `begin` there. @return what to give leave().
  uint32_t enter(uint32_t begin) { return std::exchange(base_, base_ + begin); }
  void leave(uint32_t before) { base_ = before; }

  std::pair<uint32_t, uint32_t> to_source(uint32_t begin, uint32_t end) const {
    begin += base_;
    end += base_;
    for (size_t i = edits_.size(); i-- > 0;) {
      std::tie(begin, end) = edits_[i].first->to_source(begin, end);
      begin += edits_[i].second;
      end += edits_[i].second;
    }
    return {begin, end};
  }

  /// Is `begin` of the text at hand where the user's text begins?
  bool is_start(uint32_t begin) const { return to_source(begin, begin + 1).first == 0; }

 private:
  std::vector<std::pair<const EditedText*, uint32_t>> edits_;  // and where their source begins in its text
  uint32_t base_ = 0;
};

}  // namespace phalanx::data
