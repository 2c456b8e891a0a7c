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

Sampler::Sampler(std::vector<SourceRange> sources, uint64_t seed, bool shuffle, bool interleave)
    : seed_(seed), shuffle_(shuffle), interleave_(interleave) {
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
  const Draw drawn = draw_at(sample % epoch_size_, epoch);
  const Source& source = *drawn.source;
  // The draws of one source run on over the epochs, so that a weight below 1 still reaches every row.
  const int64_t draw = epoch * source.count + drawn.number;
  const int64_t rows = source.range.end - source.range.begin;
  int64_t row = draw % rows;
  if (shuffle_ && (interleave_ || source.count != rows)) {
    // Sources of one length must not go through the same order.
    const uint64_t stream =
        interleave_ ? core::substream(kSourceStream, static_cast<uint64_t>(source.first)) : kSourceStream;
    row = static_cast<int64_t>(core::permute(seed_, stream + static_cast<uint64_t>(draw / rows),
                                             static_cast<uint64_t>(rows), static_cast<uint64_t>(row)));
  }
  return source.range.begin + row;
}

Sampler::Draw Sampler::draw_at(int64_t place, int64_t epoch) const {
  if (interleave_) return interleaved_draw(place);
  if (shuffle_) {
    place =
        static_cast<int64_t>(core::permute(seed_, kEpochStream + static_cast<uint64_t>(epoch),
                                           static_cast<uint64_t>(epoch_size_), static_cast<uint64_t>(place)));
  }
  const auto source =
      std::prev(std::upper_bound(sources_.begin(), sources_.end(), place,
                                 [](int64_t value, const Source& s) { return value < s.first; }));
  return {&*source, place - source->first};
}

/// The draw whose place this is: in one source, the only one.
Sampler::Draw Sampler::interleaved_draw(int64_t place) const {
  for (size_t i = 0; i < sources_.size(); ++i) {
    int64_t low = 0, high = sources_[i].count - 1;
    while (low < high) {
      const int64_t middle = low + (high - low) / 2;
      if (place_of(i, middle) < place)
        low = middle + 1;
      else
        high = middle;
    }
    if (place_of(i, low) == place) return {&sources_[i], low};
  }
  core::fail(core::ExitCode::kBug, "no source has sample {} of the epoch", place);
}

/// How many draws of all sources come before draw j of source i: those l of n with (l + 1/2) / n less than
/// (j + 1/2) / m; of equals, those of the source that is named first. In whole numbers, so that every machine
/// agrees.
int64_t Sampler::place_of(size_t source, int64_t number) const {
  using Wide = unsigned __int128;
  const auto own = static_cast<Wide>(sources_[source].count);
  int64_t place = 0;
  for (size_t k = 0; k < sources_.size(); ++k) {
    const Wide scaled = (2 * static_cast<Wide>(number) + 1) * static_cast<Wide>(sources_[k].count);
    const Wide last = k < source ? scaled / own : (scaled - 1) / own;  // largest 2 l + 1 that comes before
    place += static_cast<int64_t>((last + 1) / 2);
  }
  return place;
}

}  // namespace phalanx::data
