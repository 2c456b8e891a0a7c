#include "data/word_counts.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "core/hash.h"

namespace phalanx::data {

namespace {

constexpr size_t kFirstSlots = 1 << 12;
constexpr size_t kWordBlockBytes = 1 << 18;

}  // namespace

WordCounts::WordCounts() : slots_(kFirstSlots) {}

void WordCounts::add(std::string_view word, int64_t count) {
  if (word.empty()) return;
  const auto hash = static_cast<uint32_t>(core::xxh3_64(word));
  Word& slot = slot_of(word, hash);
  total_ += count;
  slot.count += count;
  if (slot.begin != nullptr) return;
  slot.begin = keep(word);
  slot.size = static_cast<uint32_t>(word.size());
  slot.hash = hash;
  if (++num_words_ * 2 > slots_.size()) grow();
}

void WordCounts::add(const WordCounts& other) {
  for (const Word& word : other.slots_)
    if (word.begin != nullptr) add(word.text(), word.count);
}

std::vector<WordCounts::Word> WordCounts::sorted() const {
  std::vector<Word> words;
  words.reserve(num_words_);
  for (const Word& word : slots_)
    if (word.begin != nullptr) words.push_back(word);
  std::sort(words.begin(), words.end(), [](const Word& a, const Word& b) { return a.text() < b.text(); });
  return words;
}

WordCounts::Word& WordCounts::slot_of(std::string_view word, uint32_t hash) {
  for (size_t at = hash & (slots_.size() - 1);; at = (at + 1) & (slots_.size() - 1)) {
    Word& slot = slots_[at];
    if (slot.begin == nullptr || (slot.hash == hash && slot.text() == word)) return slot;
  }
}

const char* WordCounts::keep(std::string_view word) {
  if (word.size() > free_bytes_) {
    free_bytes_ = std::max(kWordBlockBytes, word.size());
    blocks_.push_back(std::make_unique_for_overwrite<char[]>(free_bytes_));
    next_ = blocks_.back().get();
  }
  std::memcpy(next_, word.data(), word.size());
  free_bytes_ -= word.size();
  return std::exchange(next_, next_ + word.size());
}

void WordCounts::grow() {
  std::vector<Word> old(slots_.size() * 2);
  old.swap(slots_);
  for (const Word& word : old) {
    if (word.begin == nullptr) continue;
    size_t at = word.hash & (slots_.size() - 1);
    while (slots_[at].begin != nullptr) at = (at + 1) & (slots_.size() - 1);
    slots_[at] = word;
  }
}

}  // namespace phalanx::data
