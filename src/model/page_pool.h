#pragma once
#include <cstdint>
#include <limits>
#include <vector>

namespace phalanx::model {

/// Which pages of a paged cache are free (Kwon et al. 2023, arXiv:2309.06180): numbers alone, no memory. A
/// page that several sequences hold is free when the last of them has let it go. Pages that were used before
/// go out first, the lowest number of fresh ones next, so that memory is touched only as far as it is needed.
class PagePool {
 public:
  static constexpr int64_t kUnlimited = std::numeric_limits<int64_t>::max();

  explicit PagePool(int64_t max_pages = kUnlimited) : max_pages_(max_pages) {}

  int64_t max_pages() const { return max_pages_; }
  int64_t num_free() const { return max_pages_ - num_held_; }
  int64_t num_held() const { return num_held_; }
  /// Pages ever taken: their numbers are below this.
  int64_t high_water() const { return static_cast<int64_t>(holders_.size()); }
  int64_t holders(int64_t page) const { return holders_.at(static_cast<size_t>(page)); }

  /// @throws std::length_error if none is free.
  int64_t take();
  void share(int64_t page) { ++holders_.at(static_cast<size_t>(page)); }
  void release(int64_t page);

 private:
  int64_t max_pages_, num_held_ = 0;
  std::vector<int64_t> holders_;  // of each page
  std::vector<int64_t> free_;     // used before, the last one on top
};

}  // namespace phalanx::model
