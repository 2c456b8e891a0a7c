#include "formats/tensor_view.h"

namespace phalanx::formats {

void TensorView::add(const TensorInfo& seen, const TensorInfo& stored, uint64_t offset_bytes,
                     uint64_t size_bytes, Maker make) {
  tensors_.push_back(seen);
  places_.emplace(seen.name, Place{stored, offset_bytes, size_bytes, std::move(make)});
}

std::span<const std::byte> TensorView::bytes(const TensorInfo& tensor) const {
  const Place& place = places_.at(tensor.name);
  const auto stored = file_->bytes(place.stored).subspan(place.offset_bytes, place.size_bytes);
  if (!place.make) return stored;
  const std::scoped_lock lock(mutex_);
  std::vector<std::byte>& made = made_[tensor.name];
  if (made.empty()) {
    made.resize(tensor.size_bytes);
    place.make(stored, made);
  }
  return made;
}

void TensorView::release_pages() const {
  const std::scoped_lock lock(mutex_);
  made_.clear();
  file_->release_pages();
}

}  // namespace phalanx::formats
