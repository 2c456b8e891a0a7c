#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

namespace phalanx::data {

/// Rows [begin, end) of a data set that came from one source, drawn `weight` times per epoch.
struct SourceRange {
  int64_t begin = 0, end = 0;
  double weight = 1.0;
};

/// Which row the global sample `index` is: a pure function of (seed, index), computed in O(1), so that a run
/// resumes at any step without state and the order does not depend on how many ranks share it.
///
/// An epoch holds round(weight * rows) samples of each source (at least one), in a pseudo-random order keyed
/// by (seed, epoch); a source that is drawn more than once per epoch goes through all of its rows before it
/// repeats one. shuffle = false: file order, sources one after the other.
///
/// interleave: each source has its samples evenly over the epoch instead, the j-th of n samples of a source
/// at (j + 1/2) / n of it, so that every stretch holds the sources in their shares to within one sample of
/// each; shuffle then orders the rows inside a source. O(sources^2 log rows).
class Sampler {
 public:
  Sampler(std::vector<SourceRange> sources, uint64_t seed, bool shuffle, bool interleave = false);

  int64_t epoch_size() const { return epoch_size_; }
  int64_t sequence_index(int64_t sample) const;

 private:
  struct Source {
    SourceRange range;
    int64_t first;  // of its samples within an epoch
    int64_t count;
  };
  struct Draw {
    const Source* source;
    int64_t number;  // within the epoch
  };
  Draw draw_at(int64_t place, int64_t epoch) const;
  Draw interleaved_draw(int64_t place) const;
  int64_t place_of(size_t source, int64_t number) const;

  std::vector<Source> sources_;
  uint64_t seed_;
  bool shuffle_, interleave_;
  int64_t epoch_size_ = 0;
};

}  // namespace phalanx::data
