#pragma once
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

namespace phalanx::data {

/// How often each word occurs. Memory is that of the different words and 24 bytes for each.
class WordCounts {
 public:
  struct Word {
    const char* begin = nullptr;  ///< null: a free slot
    uint32_t size = 0;
    uint32_t hash = 0;
    int64_t count = 0;
    std::string_view text() const { return {begin, size}; }
  };

  WordCounts();
  void add(std::string_view word, int64_t count = 1);
  void add(const WordCounts& other);

  size_t size() const { return num_words_; }  ///< different words
  int64_t total() const { return total_; }    ///< all of them
  /// The words in the order of their bytes, whatever the order in which they came. Valid while this lives.
  std::vector<Word> sorted() const;

 private:
  Word& slot_of(std::string_view word, uint32_t hash);
  const char* keep(std::string_view word);
  void grow();

  std::vector<Word> slots_;  // a power of two of them, at most half of them taken
  size_t num_words_ = 0;
  int64_t total_ = 0;
  std::vector<std::unique_ptr<char[]>> blocks_;
  size_t free_bytes_ = 0;  // at the end of the last block
  char* next_ = nullptr;
};

}  // namespace phalanx::data
