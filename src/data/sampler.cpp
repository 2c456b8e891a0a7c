#include "data/sampler.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "core/random.h"

namespace phalanx::data {
namespace {

// Streams of core::permute: the order of an epoch, and the order inside a source that is drawn several times.
constexpr uint64_t kEpochStream = 0x65706f6368;
constexpr uint64_t kSourceStream = 0x736f75726365;

}  // namespace

Sampler::Sampler(std::vector<SourceRange> sources, uint64_t seed, bool shuffle)
    : seed_(seed), shuffle_(shuffle) {
  for (const SourceRange& range : sources) {
    if (range.end <= range.begin) continue;
    const auto rows = static_cast<double>(range.end - range.begin);
    const auto count = std::max<int64_t>(1, std::llround(range.weight * rows));
    sources_.push_back({range, epoch_size_, count});
    epoch_size_ += count;
  }
  if (epoch_size_ == 0) core::fail(core::ExitCode::kBadInput, "the data has no sequence to draw");
}

int64_t Sampler::sequence_index(int64_t sample) const {
  const int64_t epoch = sample / epoch_size_;
  int64_t place = sample % epoch_size_;
  if (shuffle_) {
    place =
        static_cast<int64_t>(core::permute(seed_, kEpochStream + static_cast<uint64_t>(epoch),
                                           static_cast<uint64_t>(epoch_size_), static_cast<uint64_t>(place)));
  }
  const auto source =
      std::prev(std::upper_bound(sources_.begin(), sources_.end(), place,
                                 [](int64_t value, const Source& s) { return value < s.first; }));
  // The draws of one source run on over the epochs, so that a weight below 1 still reaches every row.
  const int64_t draw = epoch * source->count + (place - source->first);
  const int64_t rows = source->range.end - source->range.begin;
  int64_t row = draw % rows;
  if (shuffle_ && source->count != rows) {
    row = static_cast<int64_t>(core::permute(seed_, kSourceStream + static_cast<uint64_t>(draw / rows),
                                             static_cast<uint64_t>(rows), static_cast<uint64_t>(row)));
  }
  return source->range.begin + row;
}

}  // namespace phalanx::data
