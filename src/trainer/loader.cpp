#include "trainer/loader.h"

namespace phalanx::trainer {

LoaderOptions loader_options(const BatchSizes& sizes, const parallel::DistributedModel& model) {
  const comm::Communicator& dp = model.mesh().dp();
  return {sizes.global, model.options().mesh_invariant ? 1 : sizes.micro, dp.rank(), dp.size()};
}

Loader::Loader(SampleSource source, const LoaderOptions& options)
    : source_(std::move(source)), options_(options) {}

std::vector<data::Batch> Loader::load(int64_t step) const {
  const int64_t per_rank = options_.global_batch_size / options_.dp_size;
  int64_t sample = step * options_.global_batch_size + options_.dp_rank * per_rank;
  std::vector<data::Batch> batches;
  for (int64_t micro = 0; micro < num_micro_steps(); ++micro) {
    std::vector<data::Sequence> sequences;
    for (int64_t i = 0; i < options_.sequences_per_micro_batch; ++i) {
      sequences.push_back(source_(sample++));
    }
    batches.push_back(data::join(sequences));
  }
  return batches;
}

}  // namespace phalanx::trainer
