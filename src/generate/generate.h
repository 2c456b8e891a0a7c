#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "core/stop.h"
#include "data/tokenizer.h"
#include "generate/rollout_options.h"
#include "generate/sampling.h"
#include "model/causal_lm.h"
#include "model/kv_cache.h"

namespace phalanx::generate {

struct GenerateOptions {
  int64_t max_new_tokens = 128;
  SamplingOptions sampling = {};
  int64_t num_samples = 1;                     ///< completions of every prompt
  std::vector<int32_t> stop_ids = {};          ///< a sequence ends with the first of these that it produces
  std::vector<std::string> stop_strings = {};  ///< and with the token that completes one of these in its text
  const data::Tokenizer* tokenizer = nullptr;  ///< decodes for stop_strings
  uint64_t step = 0,
           first_prompt = 0;  ///< prompt i draws its random numbers as SampleKey{step, first_prompt + i}
  double logprob_temperature = 1.0;  ///< Completion::logprobs are those of logits / this
  /// Products and attention by the kernels of a training step where there are some, which are slower for one
  /// sequence alone: less rounding between the two. rollout.batch_invariant promises that there is none.
  bool rounds_as_training = false;
  RolloutOptions rollout = {};
  /// Asked before every forward; on any rank of a copy of the model it ends the work of this copy.
  core::StopRequest stop = {};
};

struct Completion {
  std::vector<int32_t> ids;  ///< the new tokens alone, the stop token included
  /// log p of each in nats under softmax(logits / logprob_temperature): no penalty, no filter.
  std::vector<double> logprobs;
  std::string finish_reason;  ///< "stop" (a stop id or string, or the callback said so) or "length"
};

struct GenerateStats {
  int64_t prompt_tokens = 0, new_tokens = 0;
  int64_t forwards = 0;
  double total_s = 0;
  double ttft_s = 0;  ///< time to the first token, mean over the completions, waiting included
  double tpot_s = 0;  ///< time per further token of a sequence, mean
  double tokens_per_s() const { return total_s > 0 ? static_cast<double>(new_tokens) / total_s : 0; }
};

/// What generation asks of a model: one that lies on this device, or one that is spread over ranks.
class TokenModel {
 public:
  virtual ~TokenModel() = default;
  virtual const model::TransformerConfig& config() const = 0;
  virtual at::Device device() const = 0;
  /// Bytes of keys and values of one token on this rank; the same on all ranks of one copy of the model.
  virtual int64_t kv_token_bytes() const = 0;
  /// Runs the next tokens of the entries of `cache` and gives the logits, divided by `temperature`, behind
  /// the tokens `rows` of the input, [R, V] fp32 in host memory, with the same bits on all ranks that share
  /// one copy of the model.
  virtual at::Tensor next_logits(const model::ModelInput& input, const std::vector<int64_t>& rows,
                                 model::KvCache& cache, double temperature) = 0;
  /// Asked before every forward. True without work: other copies of the model go on, and their forwards need
  /// this one's company.
  virtual bool goes_on(bool has_work) { return has_work; }
};

/// Bytes of the keys and values of one token in a model of this size.
inline int64_t kv_token_bytes(const model::TransformerConfig& config, int64_t element_bytes) {
  return 2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim * element_bytes;
}

/// Some of the samples of one prompt.
struct Request {
  const std::vector<int32_t>* prompt;
  uint64_t key = 0;  ///< SampleKey::prompt
  int64_t first_sample = 0, num_samples = 1;
};

/// Called for every new token in the order in which they appear, with the place of its completion; returning
/// false ends that sequence.
using TokenCallback = std::function<bool(int64_t completion, int32_t id, double logprob)>;

/// Continues every prompt; completions in the order of the requests and their samples. Sequences enter and
/// leave the running batch one by one (continuous batching, Yu et al. 2022): a forward holds one token of
/// each that is at work and up to rollout.prefill_tokens of waiting prompts. A prompt is computed once for
/// its samples, which share its pages of the cache. The cache is bounded by rollout.kv_cache_mb; what finds
/// no room waits. What a sample gets does not depend on its neighbours but for rounding, and with
/// rollout.batch_invariant not at all.
/// @throws core::Error as check_prompts(), and (kBadConfig) for a prompt that does not fit
/// rollout.kv_cache_mb; core::Stopped when options.stop asks for it, from models that lie on this device.
std::vector<Completion> generate(TokenModel& model, const std::vector<Request>& requests,
                                 const GenerateOptions& options, GenerateStats* stats = nullptr,
                                 const TokenCallback& callback = {});
/// options.num_samples of every prompt.
std::vector<Completion> generate(model::CausalLm& model, const std::vector<std::vector<int32_t>>& prompts,
                                 const GenerateOptions& options, GenerateStats* stats = nullptr,
                                 const TokenCallback& callback = {});

/// Logits [R, V] fp32 of some rows of hidden states [N, h], as trainer::row_logprobs() sees them.
at::Tensor logits_of_rows(model::CausalLm& model, at::Tensor hidden, const std::vector<int64_t>& rows,
                          double temperature = 1.0);

/// @throws core::Error (kBadConfig) for options outside their ranges, (kBadInput) for an empty prompt, an id
///         outside the vocabulary, or a prompt that fills max_position_embeddings; the message names the
///         prompt.
void check_prompts(const std::vector<std::vector<int32_t>>& prompts, const GenerateOptions& options,
                   const model::TransformerConfig& config);

}  // namespace phalanx::generate
