#include "generate/generate.h"

#include <ATen/Functions.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <optional>

#include "core/error.h"
#include "generate/engine.h"
#include "ops/batch_invariant.h"
#include "ops/training_forward.h"

namespace phalanx::generate {
namespace {

using core::ExitCode;

void check_prompt(const std::vector<int32_t>& prompt, size_t index, const model::TransformerConfig& config) {
  if (prompt.empty())
    core::fail(ExitCode::kBadInput, "prompt {} has no tokens; it needs at least one", index);
  if (static_cast<int64_t>(prompt.size()) >= config.max_position_embeddings) {
    core::fail(ExitCode::kBadInput,
               "prompt {} has {} tokens but the model's context is {}; shorten the prompt", index,
               prompt.size(), config.max_position_embeddings);
  }
  for (const int32_t id : prompt) {
    if (id < 0 || id >= config.vocab_size) {
      core::fail(ExitCode::kBadInput, "prompt {} has the token id {} but the vocabulary has 0 to {}", index,
                 id, config.vocab_size - 1);
    }
  }
}

void check_at_least_one(const char* name, int64_t value) {
  if (value < 1) core::fail(ExitCode::kBadConfig, "{} is {} but must be at least 1", name, value);
}

// The whole model on this device.
class LocalModel : public TokenModel {
 public:
  LocalModel(model::CausalLm& model, const core::StopRequest& stop) : model_(model), stop_(stop) {}
  const model::TransformerConfig& config() const override { return model_.config(); }
  at::Device device() const override { return model_.output_weight().device(); }
  int64_t kv_token_bytes() const override {
    return generate::kv_token_bytes(config(), static_cast<int64_t>(model_.output_weight().element_size()));
  }
  at::Tensor next_logits(const model::ModelInput& input, const std::vector<int64_t>& rows,
                         model::KvCache& cache, double temperature) override {
    return logits_of_rows(model_, model_.hidden_cached(input, cache), rows, temperature).cpu();
  }
  bool goes_on(bool has_work) override {
    if (core::is_requested(stop_)) throw core::Stopped();
    return has_work;
  }

 private:
  model::CausalLm& model_;
  const core::StopRequest& stop_;
};

}  // namespace

at::Tensor logits_of_rows(model::CausalLm& model, at::Tensor hidden, const std::vector<int64_t>& rows,
                          double temperature) {
  const bool are_all =
      hidden.size(0) == static_cast<int64_t>(rows.size()) && std::is_sorted(rows.begin(), rows.end());
  if (!are_all) hidden = hidden.index_select(0, at::tensor(rows, at::kLong).to(hidden.device()));
  at::Tensor logits = model.head().logits(hidden, model.output_weight()).to(at::kFloat);
  return temperature == 1.0 ? logits : logits.mul_(1.0 / temperature);  // as ops::token_logprobs does
}

void check_prompts(const std::vector<std::vector<int32_t>>& prompts, const GenerateOptions& options,
                   const model::TransformerConfig& config) {
  options.sampling.validate();
  check_at_least_one("max_new_tokens", options.max_new_tokens);
  check_at_least_one("num_samples", options.num_samples);
  check_at_least_one("rollout.max_batch_size", options.rollout.max_batch_size);
  check_at_least_one("rollout.prefill_tokens", options.rollout.prefill_tokens);
  for (const std::string& string : options.stop_strings) {
    if (string.empty())
      core::fail(ExitCode::kBadConfig, "a stop string is empty; it needs at least one character");
  }
  if (!options.stop_strings.empty() && !options.tokenizer)
    core::fail(ExitCode::kBug, "stop strings without a tokenizer");
  for (size_t i = 0; i < prompts.size(); ++i) check_prompt(prompts[i], i, config);
}

std::vector<Completion> generate(TokenModel& model, const std::vector<Request>& requests,
                                 const GenerateOptions& options, GenerateStats* stats,
                                 const TokenCallback& callback) {
  const at::NoGradGuard no_grad;
  const ops::BatchInvariant invariant(options.rollout.batch_invariant);
  std::optional<ops::TrainingForward> as_training;
  if (options.rounds_as_training) as_training.emplace();
  GenerateStats own;
  return Engine(model, requests, options, callback).run(stats ? *stats : own);
}

std::vector<Completion> generate(model::CausalLm& model, const std::vector<std::vector<int32_t>>& prompts,
                                 const GenerateOptions& options, GenerateStats* stats,
                                 const TokenCallback& callback) {
  check_prompts(prompts, options, model.config());
  LocalModel local(model, options.stop);
  std::vector<Request> requests;
  for (size_t i = 0; i < prompts.size(); ++i)
    requests.push_back({&prompts[i], options.first_prompt + i, 0, options.num_samples});
  return generate(local, requests, options, stats, callback);
}

}  // namespace phalanx::generate
