#include "trainer/online/policy_method.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <algorithm>

#include "core/error.h"
#include "core/run_options.h"
#include "trainer/data_setup.h"
#include "trainer/next_token.h"
#include "trainer/online/critic.h"
#include "trainer/online/generation_batches.h"
#include "trainer/online/policy_rule.h"
#include "trainer/online/rollout_setup.h"
#include "trainer/online/rollout_source.h"
#include "trainer/online/separate_critic.h"
#include "trainer/options.h"
#include "trainer/reference.h"

namespace phalanx::trainer {
namespace {

[[noreturn]] void refuse_key(const core::Config& config, const std::string& key, const std::string& why) {
  throw core::ConfigErrors({fmt::format("{}: error: {} {}", config.position(key), key, why)});
}

/// @throws core::ConfigErrors for keys that do not go together.
PolicyOptions checked_options(const core::Config& config, const PolicyRule& rule) {
  PolicyOptions options = policy_options(config, rule.defaults);
  const int64_t batch = config.get<TrainOptions>().global_batch_size, group = options.num_generations;
  if (batch % group != 0) {
    refuse_key(config, "train.global_batch_size",
               fmt::format("is {} answers but must be a multiple of method.num_generations = {}; try {}",
                           batch, group, (batch / group + 1) * group));
  }
  if (!options.dynamic_sampling) return options;
  if (group < 2)
    refuse_key(config, "method.num_generations",
               "is 1 but must be at least 2 with method.dynamic_sampling, which looks for groups whose "
               "rewards differ");
  if (options.rollouts)
    refuse_key(config, "method.dynamic_sampling",
               "is true but method.rollouts has recorded answers, which nothing replaces; keep one of them");
  return options;
}

class PolicyTask : public Task {
 public:
  PolicyTask(const core::Config& config, const ModelSetup& setup, comm::Communicator& group,
             const PolicyRule& rule)
      : config_(config),
        setup_(setup),
        rule_(rule),
        options_(checked_options(config, rule)),
        rollouts_(config, setup, options_, group) {
    if (rule.has_critic && options_.critic.kind == "separate") separate_critic_.emplace(config, setup);
  }

  std::string report() const override { return rollouts_.report(); }
  int64_t epoch_size() const override {
    return rollouts_.num_prompts() * options_.num_generations * options_.num_iterations;
  }
  std::unique_ptr<Method> start(const TrainedModel& trained, parallel::DistributedModel& model,
                                const BatchSizes& sizes) const override;

  const PolicyRule& rule() const { return rule_; }
  const PolicyOptions& options() const { return options_; }
  const RolloutSetup& rollouts() const { return rollouts_; }
  FrozenModel reference() const {
    const auto seed = static_cast<uint64_t>(config_.get<core::RunOptions>().seed);
    return {[this] { return setup_.build(); },
            [this, seed](model::CausalLm& model, at::ScalarType dtype) { setup_.fill(model, dtype, seed); }};
  }
  std::unique_ptr<Critic> make_critic(parallel::DistributedModel& policy) const {
    return separate_critic_ ? separate_critic_->start(policy) : make_value_head(policy);
  }
  std::optional<int64_t> max_eval_prompts() const { return config_.get<EvalOptions>().max_sequences; }

 private:
  const core::Config& config_;
  const ModelSetup& setup_;
  const PolicyRule& rule_;
  PolicyOptions options_;
  RolloutSetup rollouts_;
  std::optional<SeparateCritic> separate_critic_;
};

class PolicyMethod : public Method {
 public:
  PolicyMethod(const PolicyTask& task, const TrainedModel& trained, parallel::DistributedModel& model,
               const BatchSizes& sizes)
      : task_(task),
        options_(task.options()),
        model_(model),
        source_(task.rollouts(), model),
        sizes_(loader_options(sizes, model)),
        needs_old_(options_.steps_per_cycle() > 1 || task.rule().has_critic ||
                   (task.rule().beta_is_in_reward && options_.loss.beta != 0)),
        kl_control_(options_.loss.beta, options_.kl_control) {
    check_order_of_gradients(model);
    if (options_.loss.beta != 0) reference_ = make_reference(task.reference(), trained, model);
    if (task.rule().has_critic) critic_ = task.make_critic(model);
  }

  std::vector<data::Batch> load(int64_t step) override {
    const int64_t number = step / options_.steps_per_cycle();
    if (number != number_) begin_generation(number, step % options_.steps_per_cycle() != 0);
    const int64_t slice = step % options_.steps_per_generation;
    return batches_of_rank(generation_, targets_, slice * sizes_.global_batch_size, sizes_,
                           [this](const Rollout& rollout) { return counts(rollout); });
  }

  void begin_step(std::vector<data::Batch>& local, const TokenCounts& counts) override {
    totals_ = {static_cast<double>(sizes_.global_batch_size), static_cast<double>(counts.targets)};
    if (reference_ && !task_.rule().beta_is_in_reward)
      attach_reference(*reference_, local, options_.sampling.temperature);
  }

  at::Tensor loss(size_t, const data::Batch& local, const model::LayersOutput& output) override {
    model::CausalLm& model = model_.model();
    PolicyRows rows;
    at::Tensor entropies;
    rows.logprobs = row_logprobs(model, local, output.hidden, {options_.sampling.temperature, &entropies});
    const at::TensorOptions like = rows.logprobs.options().requires_grad(false);
    const auto values = [&](const char* name) {
      return local.row_values.contains(name) ? row_values(local, name, like) : at::Tensor();
    };
    rows.mask = counted_rows(local, like);
    metrics_.add_rows("entropy", (entropies * rows.mask).sum().item<double>(),
                      rows.mask.sum().item<double>());
    rows.advantages = row_values(local, kAdvantages, like);
    rows.old_logprobs = values(kOldLogprobs);
    if (!rows.old_logprobs.defined()) rows.old_logprobs = rows.logprobs.detach();
    rows.ref_logprobs = values(kReferenceLogprobs);
    if (const at::Tensor sampled = values(kSamplingLogprobs); sampled.defined())
      add_sampling_metrics(rows.old_logprobs - sampled, rows.mask);
    at::Tensor loss = task_.rule().loss(rows, options_.loss, totals_, local, model_.mesh().cp(), metrics_);
    const at::Tensor value = critic_ ? critic_->values_beside(output.hidden) : at::Tensor();
    if (value.defined()) loss = loss + value_loss_(value, local);
    return with_auxiliary_loss(loss, model, output);
  }

  std::vector<Companion> companions() override {
    return critic_ ? critic_->companions(value_loss_) : std::vector<Companion>();
  }
  void write_companions(const std::filesystem::path& final_folder) override {
    if (critic_) critic_->write(final_folder);
  }

  /// Which prompts come next; beta of the generation that is learned from, and after it.
  nlohmann::ordered_json state() const override {
    nlohmann::ordered_json state = source_.state();
    state["kl_control"] = {{"generation", known_}, {"beta", beta_}, {"next_beta", kl_control_.beta()}};
    return state;
  }
  void restore(const nlohmann::ordered_json& state) override {
    source_.restore(state);
    if (!state.contains("kl_control")) return;
    const nlohmann::ordered_json& control = state["kl_control"];
    known_ = control["generation"].get<int64_t>();
    beta_ = control["beta"].get<double>();
    kl_control_.set_beta(control["next_beta"].get<double>());
  }

  std::vector<Metric> metrics() override {
    std::vector<Metric> all = generation_metrics_;
    for (Metric& metric : source_.metrics()) all.push_back(std::move(metric));
    for (Metric& metric : metrics_.take(model_.mesh())) all.push_back(std::move(metric));
    return without_nan(std::move(all));
  }

  void stop_on(core::StopRequest stop) override { source_.stop_on(std::move(stop)); }

  std::optional<Evaluation> evaluate() override {
    const auto found = source_.evaluate(task_.max_eval_prompts());
    if (!found) return std::nullopt;
    Evaluation evaluation;
    for (const Metric& metric : without_nan(generation_metrics(*found)))
      evaluation.row["eval_" + metric.name] = metric.value;
    evaluation.summary = evaluation.row.contains("eval_reward")
                             ? fmt::format("eval_reward {:.4f} on {} prompts",
                                           evaluation.row["eval_reward"].get<double>(), found->size())
                             : fmt::format("no answer to {} prompts could be judged", found->size());
    return evaluation;
  }

 private:
  /// @param apart  [N] log p of the trainer - log p of the sampler
  void add_sampling_metrics(const at::Tensor& apart, const at::Tensor& mask) {
    const at::Tensor counted = apart.masked_select(mask > 0), ratio = counted.exp();
    const auto count = static_cast<double>(counted.numel());
    const auto add = [&](const std::string& name, const at::Tensor& values) {
      metrics_.add_rows(name + "/mean", values.sum(at::kDouble).item<double>(), count);
      metrics_.add_highest(name + "/max", values);
    };
    add("sampling/sampling_logp_difference", counted.abs());
    add("sampling/importance_sampling_ratio", ratio);
    metrics_.add_lowest("sampling/importance_sampling_ratio/min", ratio);
  }

  void begin_generation(int64_t number, bool is_begun) {
    generation_ = source_.generation(number, is_begun, [&](Generation& fresh) { complete(fresh); });
    number_ = number;
    const bool is_new = known_ != number;  // else the run goes on in the middle of it
    known_ = number;
    if (is_new) beta_ = kl_control_.beta();
    targets_ = task_.rule().targets(generation_, options_, beta_);
    if (is_new)
      kl_control_.update(targets_.kl,
                         static_cast<double>(generation_.size() * generation_[0].rollouts.size()));
    generation_metrics_ = generation_metrics(generation_);
    generation_metrics_.insert(generation_metrics_.end(), targets_.metrics.begin(), targets_.metrics.end());
  }

  void complete(Generation& fresh) {
    const double temperature = options_.sampling.temperature;
    if (needs_old_) {
      fill_tokens(fresh, &Rollout::old_logprobs, model_, sizes_,
                  [&](const data::Batch& local) { return logprobs_of(model_, local, temperature); });
    }
    if (reference_ && task_.rule().beta_is_in_reward) {
      fill_tokens(fresh, &Rollout::ref_logprobs, model_, sizes_,
                  [&](const data::Batch& local) { return reference_->logprobs(local, temperature); });
    }
    if (critic_) {
      fill_tokens(fresh, &Rollout::values, model_, sizes_,
                  [&](const data::Batch& local) { return critic_->values(local); });
    }
    model_.drop_gathered();
  }

  /// A critic learns nothing from an answer that could not be judged.
  bool counts(const Rollout& rollout) const {
    const bool is_masked = options_.mask_truncated_completions && rollout.finish_reason == "length";
    return !is_masked && (rollout.reward || !critic_);
  }

  static at::Tensor counted_rows(const data::Batch& local, const at::TensorOptions& like) {
    return labels(local, like.device()).ne(data::kIgnoredLabel).to(like);
  }

  at::Tensor value_loss_of(const at::Tensor& values, const data::Batch& local) {
    const at::TensorOptions like = values.options().requires_grad(false);
    const ValueRows rows{values, row_values(local, kOldValues, like), row_values(local, kReturns, like),
                         counted_rows(local, like)};
    const CriticOptions& options = options_.critic;
    return options.vf_coef * value_loss(rows, options.cliprange_value, totals_, metrics_);
  }

  const PolicyTask& task_;
  const PolicyOptions& options_;
  parallel::DistributedModel& model_;
  RolloutSource source_;
  LoaderOptions sizes_;
  bool needs_old_;
  std::unique_ptr<Reference> reference_;
  std::unique_ptr<Critic> critic_;
  const ValueLoss value_loss_ = [this](const at::Tensor& values, const data::Batch& local) {
    return value_loss_of(values, local);
  };
  int64_t number_ = -1;  // of the generation that is learned from
  int64_t known_ = -1;   // that of beta_
  double beta_ = 0;
  KlControl kl_control_;
  Generation generation_;
  PolicyTargets targets_;
  PolicyTotals totals_;
  MetricSums metrics_;
  std::vector<Metric> generation_metrics_;
};

std::unique_ptr<Method> PolicyTask::start(const TrainedModel& trained, parallel::DistributedModel& model,
                                          const BatchSizes& sizes) const {
  return std::make_unique<PolicyMethod>(*this, trained, model, sizes);
}

void extend_with_critic(const core::Config& config, model::CausalLm& model, at::ScalarType dtype) {
  if (config.get<MethodOptions>().critic.value_or(CriticOptions().kind) == "head")
    add_value_head(model, dtype, static_cast<uint64_t>(config.get<core::RunOptions>().seed));
}

MethodKind kind_of(const PolicyRule& rule, std::string help, const std::vector<std::string>& keys) {
  return {rule.name, std::move(help), policy_keys(keys),
          [&rule](const core::Config& config, const ModelSetup& setup, comm::Communicator& group) {
            return std::make_unique<PolicyTask>(config, setup, group, rule);
          }};
}

MethodKind ppo_kind() {
  MethodKind kind =
      kind_of(ppo_rule(), "Proximal policy optimisation: advantages over the values that a critic learns.",
              {"critic", "vf_coef", "cliprange_value", "gamma", "lam", "whiten_rewards",
               "missing_eos_penalty", "kl_estimator", "adap_kl_ctrl", "target", "horizon", "value_model"});
  kind.extend = extend_with_critic;
  return kind;
}

}  // namespace

std::vector<MethodKind> policy_methods() {
  return {
      kind_of(
          grpo_rule(),
          "Group-relative policy optimisation: answers to a prompt are compared with each other; loss_type "
          "grpo, bnpo, dr_grpo, dapo, cispo, sapo or luspo.",
          {"loss_type", "delta", "importance_sampling_level", "use_bias_correction_kl", "scale_rewards"}),
      kind_of(rloo_rule(), "REINFORCE with the other answers to the prompt as baseline.",
              {"normalize_advantages"}),
      kind_of(reinforce_pp_rule(), "REINFORCE++: advantages normalised over all tokens of a batch.", {}),
      ppo_kind()};
}

}  // namespace phalanx::trainer
