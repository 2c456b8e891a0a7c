#include "generate/admission.h"

namespace phalanx::generate {

std::optional<int64_t> Admission::next() {
  if (first_waiting_ == requests_.size() || free_sequences_ == 0) return std::nullopt;
  Progress& request = requests_[first_waiting_];
  const int64_t pages = sample_pages(request.size) + (request.admitted == 0 ? prompt_pages(request.size) : 0);
  if (pages > free_pages_) return std::nullopt;
  free_pages_ -= pages;
  --free_sequences_;
  const auto place = static_cast<int64_t>(first_waiting_);
  if (++request.admitted == request.size.num_samples) ++first_waiting_;
  return place;
}

void Admission::release(int64_t request) {
  Progress& progress = requests_.at(static_cast<size_t>(request));
  ++free_sequences_;
  free_pages_ += sample_pages(progress.size);
  if (++progress.ended == progress.size.num_samples) free_pages_ += prompt_pages(progress.size);
}

}  // namespace phalanx::generate
