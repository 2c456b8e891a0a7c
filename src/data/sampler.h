#pragma once
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
class Sampler {
 public:
  Sampler(std::vector<SourceRange> sources, uint64_t seed, bool shuffle);

  int64_t epoch_size() const { return epoch_size_; }
  int64_t sequence_index(int64_t sample) const;

 private:
  struct Source {
    SourceRange range;
    int64_t first;  // of its samples within an epoch
    int64_t count;
  };
  std::vector<Source> sources_;
  uint64_t seed_;
  bool shuffle_;
  int64_t epoch_size_ = 0;
};

}  // namespace phalanx::data
