#pragma once
#include <cstdint>
#include <optional>

#include "data/dataset.h"
#include "model/causal_lm.h"
#include "parallel/distributed_model.h"

namespace phalanx::trainer {

struct EvalResult {
  double loss = 0;  ///< mean over the targets of all evaluated sequences, nats
  int64_t target_tokens = 0;
  int64_t num_sequences = 0;
  double perplexity() const;
};

/// Loss on the first `max_sequences` (or all) sequences of `dataset`. Sequences are run one by one and summed
/// in their order, so that the figure has the same bits for every number of data-parallel ranks. Collective
/// over the mesh; sequences are shared out over mesh.dp(), the result is the same on every rank.
EvalResult evaluate(parallel::DistributedModel& model, const data::Dataset& dataset,
                    std::optional<int64_t> max_sequences);

}  // namespace phalanx::trainer
