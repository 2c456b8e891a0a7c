#include "model/page_pool.h"

#include <stdexcept>
#include <string>

namespace phalanx::model {

int64_t PagePool::take() {
  if (num_free() == 0)
    throw std::length_error("the cache holds " + std::to_string(max_pages_) + " pages and none is free");
  ++num_held_;
  if (free_.empty()) {
    holders_.push_back(1);
    return high_water() - 1;
  }
  const int64_t page = free_.back();
  free_.pop_back();
  holders_[static_cast<size_t>(page)] = 1;
  return page;
}

void PagePool::release(int64_t page) {
  if (--holders_.at(static_cast<size_t>(page)) > 0) return;
  --num_held_;
  free_.push_back(page);
}

}  // namespace phalanx::model
