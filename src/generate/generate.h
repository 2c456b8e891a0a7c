#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "generate/sampling.h"
#include "model/causal_lm.h"

namespace phalanx::generate {

struct GenerateOptions {
  int64_t max_new_tokens = 128;
  SamplingOptions sampling = {};
  std::vector<int32_t> stop_ids = {};  ///< a sequence ends with the first of these that it produces
  int64_t max_batch_size = 16;  ///< sequences that are decoded together; the others wait for a free place
  uint64_t first_sample = 0;    ///< prompt i draws its random numbers as sample first_sample + i
};

struct Completion {
  std::vector<int32_t> ids;      ///< the new tokens alone, the stop token included
  std::vector<double> logprobs;  ///< log p of each in nats, under the model itself: temperature 1, no filter
  std::string finish_reason;     ///< "stop" (a stop id, or the callback said so) or "length"
};

struct GenerateStats {
  int64_t prompt_tokens = 0, new_tokens = 0;
  double total_s = 0;
  double ttft_s = 0;  ///< time to the first token, mean over the prompts, waiting included
  double tpot_s = 0;  ///< time per further token of a sequence, mean
  double tokens_per_s() const { return total_s > 0 ? static_cast<double>(new_tokens) / total_s : 0; }
};

/// Called for every new token in the order in which they appear; returning false ends that sequence.
using TokenCallback = std::function<bool(int64_t prompt, int32_t id, double logprob)>;

/// Continues every prompt. Prompts enter and leave the running batch one by one (continuous batching); what a
/// prompt gets does not depend on its neighbours but for the rounding of its own prompt's matrix products.
/// @throws core::Error (kBadInput) for an empty prompt, an id outside the vocabulary, or a prompt that fills
///         max_position_embeddings; the message names the prompt.
std::vector<Completion> generate(model::CausalLm& model, const std::vector<std::vector<int32_t>>& prompts,
                                 const GenerateOptions& options, GenerateStats* stats = nullptr,
                                 const TokenCallback& callback = {});

}  // namespace phalanx::generate
