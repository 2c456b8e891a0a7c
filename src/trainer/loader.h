#pragma once
#include <cstdint>
#include <functional>
#include <vector>

#include "data/batch.h"
#include "parallel/distributed_model.h"
#include "trainer/method.h"

namespace phalanx::trainer {

struct LoaderOptions {
  int64_t global_batch_size;
  int64_t sequences_per_micro_batch;
  int64_t dp_rank, dp_size;
};

/// This rank's part of batches of such sizes.
LoaderOptions loader_options(const BatchSizes& sizes, const parallel::DistributedModel& model);

/// The sequence of a global sample number: a data set behind a sampler, or anything else.
using SampleSource = std::function<data::Sequence(int64_t sample)>;

/// The micro-batches of one rank. A pure function of the step: global sample step * global_batch_size + i
/// goes to data- parallel rank i / (global_batch_size / dp_size), so the order of samples does not depend on
/// dp and resuming is O(1).
class Loader {
 public:
  Loader(SampleSource source, const LoaderOptions& options);

  int64_t num_micro_steps() const {
    return options_.global_batch_size / options_.dp_size / options_.sequences_per_micro_batch;
  }
  std::vector<data::Batch> load(int64_t step) const;  ///< `step` from 0

 private:
  SampleSource source_;
  LoaderOptions options_;
};

}  // namespace phalanx::trainer
