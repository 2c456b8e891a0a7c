#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "generate/sampling.h"
#include "model/causal_lm.h"
#include "model/kv_cache.h"

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

/// What generation asks of a model: one that lies on this device, or one that is spread over ranks.
class TokenModel {
 public:
  virtual ~TokenModel() = default;
  virtual const model::TransformerConfig& config() const = 0;
  virtual at::Device device() const = 0;
  /// Runs the next tokens of the entries of `cache` and gives the logits behind the tokens `rows` of the
  /// input, [R, V] fp32 in host memory, with the same bits on all ranks that share one copy of the model.
  virtual at::Tensor next_logits(const model::ModelInput& input, const std::vector<int64_t>& rows,
                                 model::KvCache& cache) = 0;
  /// Asked before every forward. True without work: other copies of the model go on, and their forwards need
  /// this one's company.
  virtual bool goes_on(bool has_work) { return has_work; }
};

/// Called for every new token in the order in which they appear; returning false ends that sequence.
using TokenCallback = std::function<bool(int64_t prompt, int32_t id, double logprob)>;

/// Continues every prompt. Prompts enter and leave the running batch one by one (continuous batching); what a
/// prompt gets does not depend on its neighbours but for the rounding of its own prompt's matrix products.
/// @throws core::Error as check_prompts().
std::vector<Completion> generate(TokenModel& model, const std::vector<std::vector<int32_t>>& prompts,
                                 const GenerateOptions& options, GenerateStats* stats = nullptr,
                                 const TokenCallback& callback = {});
std::vector<Completion> generate(model::CausalLm& model, const std::vector<std::vector<int32_t>>& prompts,
                                 const GenerateOptions& options, GenerateStats* stats = nullptr,
                                 const TokenCallback& callback = {});

/// Logits [R, V] fp32 of some rows of hidden states [N, h].
at::Tensor logits_of_rows(model::CausalLm& model, at::Tensor hidden, const std::vector<int64_t>& rows);

/// @throws core::Error (kBadConfig) for options outside their ranges, (kBadInput) for an empty prompt, an id
///         outside the vocabulary, or a prompt that fills max_position_embeddings; the message names the
///         prompt.
void check_prompts(const std::vector<std::vector<int32_t>>& prompts, const GenerateOptions& options,
                   const model::TransformerConfig& config);

}  // namespace phalanx::generate
