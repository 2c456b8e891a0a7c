#include "generate/generate.h"

#include <ATen/Functions.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <chrono>
#include <optional>

#include "core/error.h"
#include "model/kv_cache.h"

namespace phalanx::generate {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

void check_prompt(const std::vector<int32_t>& prompt, size_t index, const model::TransformerConfig& config) {
  if (prompt.empty())
    core::fail(core::ExitCode::kBadInput, "prompt {} has no tokens; it needs at least one", index);
  if (static_cast<int64_t>(prompt.size()) >= config.max_position_embeddings) {
    core::fail(core::ExitCode::kBadInput,
               "prompt {} has {} tokens but the model's context is {}; shorten the prompt", index,
               prompt.size(), config.max_position_embeddings);
  }
  for (const int32_t id : prompt) {
    if (id < 0 || id >= config.vocab_size) {
      core::fail(core::ExitCode::kBadInput, "prompt {} has the token id {} but the vocabulary has 0 to {}",
                 index, id, config.vocab_size - 1);
    }
  }
}

/// The sequences that are running, one per cache entry, and those that wait.
class Batch {
 public:
  Batch(TokenModel& model, const std::vector<std::vector<int32_t>>& prompts, const GenerateOptions& options,
        const TokenCallback& callback)
      : model_(model),
        prompts_(prompts),
        options_(options),
        callback_(callback),
        entries_(std::min<int64_t>(options.max_batch_size, static_cast<int64_t>(prompts.size()))),
        cache_(static_cast<int64_t>(entries_.size()), capacity()),
        completions_(prompts.size()) {}

  std::vector<Completion> run(GenerateStats& stats);

 private:
  struct Running {
    int64_t prompt;
    std::vector<int32_t> history;  // prompt and new tokens
    std::vector<int32_t> fresh;    // those that the cache does not hold yet
    Clock::time_point first_token;
  };

  int64_t capacity() const;
  bool admit();
  void step(bool only_new);
  void keep_company();
  void take_token(int64_t entry, std::span<float> logits, double logprob_base);
  void finish(int64_t entry, const char* reason);

  TokenModel& model_;
  const std::vector<std::vector<int32_t>>& prompts_;
  const GenerateOptions& options_;
  const TokenCallback& callback_;
  std::vector<std::optional<Running>> entries_;
  model::KvCache cache_;
  std::vector<Completion> completions_;
  int64_t next_prompt_ = 0;
  Clock::time_point start_ = Clock::now();
  double ttft_sum_s_ = 0, tpot_sum_s_ = 0;
  int64_t tpot_tokens_ = 0;
};

int64_t Batch::capacity() const {
  int64_t longest = 0;
  for (const auto& prompt : prompts_) longest = std::max(longest, static_cast<int64_t>(prompt.size()));
  return std::min(longest + options_.max_new_tokens, model_.config().max_position_embeddings);
}

// Puts waiting prompts into free entries; true if any came in.
bool Batch::admit() {
  bool any = false;
  for (size_t e = 0; e < entries_.size() && next_prompt_ < static_cast<int64_t>(prompts_.size()); ++e) {
    if (entries_[e]) continue;
    const std::vector<int32_t>& prompt = prompts_[next_prompt_];
    entries_[e] = Running{.prompt = next_prompt_++, .history = prompt, .fresh = prompt, .first_token = {}};
    cache_.clear(static_cast<int64_t>(e));
    any = true;
  }
  return any;
}

// One forward: whole prompts of the entries that have just come in, or one token of every running entry.
void Batch::step(bool only_new) {
  std::vector<int64_t> ids, positions, last_rows, active;
  model::ModelInput input{.input_ids = {}, .position_ids = {}, .cu_seqlens = {0}};
  for (size_t e = 0; e < entries_.size(); ++e) {
    const int64_t past = cache_.length(static_cast<int64_t>(e));
    if (entries_[e] && (!only_new || past == 0)) {
      for (const int32_t id : entries_[e]->fresh) {
        positions.push_back(past + static_cast<int64_t>(ids.size()) - input.cu_seqlens.back());
        ids.push_back(id);
      }
      last_rows.push_back(static_cast<int64_t>(ids.size()) - 1);
      active.push_back(static_cast<int64_t>(e));
    }
    input.cu_seqlens.push_back(static_cast<int32_t>(ids.size()));
  }
  input.input_ids = at::tensor(ids, at::kLong).to(model_.device());
  input.position_ids = at::tensor(positions, at::kLong).to(model_.device());
  const at::Tensor logits = model_.next_logits(input, last_rows, cache_);  // [active, V]
  const at::Tensor normaliser = logits.logsumexp(1);
  for (size_t i = 0; i < active.size(); ++i) {
    const int64_t row = static_cast<int64_t>(i);
    float* values = logits.mutable_data_ptr<float>() + row * logits.size(1);
    take_token(active[i], {values, static_cast<size_t>(logits.size(1))},
               normaliser.const_data_ptr<float>()[row]);
  }
}

// A forward whose result nobody needs.
void Batch::keep_company() {
  const at::Tensor zero = at::zeros({1}, at::TensorOptions().dtype(at::kLong).device(model_.device()));
  model::KvCache cache(1);
  model_.next_logits({.input_ids = zero, .position_ids = zero, .cu_seqlens = {0, 1}}, {0}, cache);
}

void Batch::take_token(int64_t entry, std::span<float> logits, double normaliser) {
  Running& running = *entries_[entry];
  Completion& completion = completions_[running.prompt];
  const std::vector<float> unchanged = options_.sampling.repetition_penalty == 1.0
                                           ? std::vector<float>()
                                           : std::vector<float>(logits.begin(), logits.end());
  const int32_t id = sample_token(logits, running.history, options_.sampling,
                                  options_.first_sample + running.prompt, running.history.size());
  const double logprob = static_cast<double>(unchanged.empty() ? logits[id] : unchanged[id]) - normaliser;
  if (completion.ids.empty()) {
    running.first_token = Clock::now();
    ttft_sum_s_ += seconds_since(start_);
  }
  completion.ids.push_back(id);
  completion.logprobs.push_back(logprob);
  running.history.push_back(id);
  running.fresh.assign(1, id);
  const bool wanted = !callback_ || callback_(running.prompt, id, logprob);
  const bool is_stop =
      std::find(options_.stop_ids.begin(), options_.stop_ids.end(), id) != options_.stop_ids.end();
  const bool is_full =
      static_cast<int64_t>(completion.ids.size()) >= options_.max_new_tokens ||
      static_cast<int64_t>(running.history.size()) >= model_.config().max_position_embeddings;
  if (is_stop || !wanted) return finish(entry, "stop");
  if (is_full) finish(entry, "length");
}

void Batch::finish(int64_t entry, const char* reason) {
  Running& running = *entries_[entry];
  Completion& completion = completions_[running.prompt];
  completion.finish_reason = reason;
  tpot_sum_s_ += seconds_since(running.first_token);
  tpot_tokens_ += static_cast<int64_t>(completion.ids.size()) - 1;
  entries_[entry].reset();
}

std::vector<Completion> Batch::run(GenerateStats& stats) {
  const auto is_running = [](const auto& entry) { return entry.has_value(); };
  const auto has_work = [&] {
    return next_prompt_ < static_cast<int64_t>(prompts_.size()) ||
           std::any_of(entries_.begin(), entries_.end(), is_running);
  };
  for (bool mine = has_work(); model_.goes_on(mine); mine = has_work()) {
    if (mine) {
      step(/*only_new=*/admit());
    } else {
      keep_company();
    }
  }
  stats.total_s = seconds_since(start_);
  for (const auto& prompt : prompts_) stats.prompt_tokens += static_cast<int64_t>(prompt.size());
  for (const Completion& completion : completions_)
    stats.new_tokens += static_cast<int64_t>(completion.ids.size());
  stats.ttft_s = prompts_.empty() ? 0 : ttft_sum_s_ / static_cast<double>(prompts_.size());
  stats.tpot_s = tpot_tokens_ > 0 ? tpot_sum_s_ / static_cast<double>(tpot_tokens_) : 0;
  return std::move(completions_);
}

// The whole model on this device.
class LocalModel : public TokenModel {
 public:
  explicit LocalModel(model::CausalLm& model) : model_(model) {}
  const model::TransformerConfig& config() const override { return model_.config(); }
  at::Device device() const override { return model_.output_weight().device(); }
  at::Tensor next_logits(const model::ModelInput& input, const std::vector<int64_t>& rows,
                         model::KvCache& cache) override {
    return logits_of_rows(model_, model_.hidden_cached(input, cache), rows).cpu();
  }

 private:
  model::CausalLm& model_;
};

}  // namespace

at::Tensor logits_of_rows(model::CausalLm& model, at::Tensor hidden, const std::vector<int64_t>& rows) {
  if (hidden.size(0) != static_cast<int64_t>(rows.size()))
    hidden = hidden.index_select(0, at::tensor(rows, at::kLong).to(hidden.device()));
  return model.head().logits(hidden, model.output_weight()).to(at::kFloat);
}

void check_prompts(const std::vector<std::vector<int32_t>>& prompts, const GenerateOptions& options,
                   const model::TransformerConfig& config) {
  options.sampling.validate();
  if (options.max_new_tokens < 1) {
    core::fail(core::ExitCode::kBadConfig, "max_new_tokens is {} but must be at least 1",
               options.max_new_tokens);
  }
  if (options.max_batch_size < 1) {
    core::fail(core::ExitCode::kBadConfig, "max_batch_size is {} but must be at least 1",
               options.max_batch_size);
  }
  for (size_t i = 0; i < prompts.size(); ++i) check_prompt(prompts[i], i, config);
}

std::vector<Completion> generate(TokenModel& model, const std::vector<std::vector<int32_t>>& prompts,
                                 const GenerateOptions& options, GenerateStats* stats,
                                 const TokenCallback& callback) {
  check_prompts(prompts, options, model.config());
  const at::NoGradGuard no_grad;
  GenerateStats own;
  return Batch(model, prompts, options, callback).run(stats ? *stats : own);
}

std::vector<Completion> generate(model::CausalLm& model, const std::vector<std::vector<int32_t>>& prompts,
                                 const GenerateOptions& options, GenerateStats* stats,
                                 const TokenCallback& callback) {
  LocalModel local(model);
  return generate(local, prompts, options, stats, callback);
}

}  // namespace phalanx::generate
