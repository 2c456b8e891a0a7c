#pragma once
#include <cstdint>
#include <optional>

#include "comm/communicator.h"
#include "data/dataset.h"
#include "model/causal_lm.h"

namespace phalanx::trainer {

struct EvalResult {
  double loss = 0;  ///< mean over the targets of all evaluated sequences, nats
  int64_t target_tokens = 0;
  int64_t num_sequences = 0;
  double perplexity() const;
};

/// Loss of `model` on the first `max_sequences` (or all) sequences of `dataset`, shared out over the ranks of
/// `group`. Sequences are run one by one and summed in their order, so that the figure has the same bits for
/// every group size.
EvalResult evaluate(model::CausalLm& model, const data::Dataset& dataset,
                    std::optional<int64_t> max_sequences, comm::Communicator& group);

}  // namespace phalanx::trainer
