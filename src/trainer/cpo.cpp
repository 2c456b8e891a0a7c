#include "trainer/cpo.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "trainer/alignment_options.h"
#include "trainer/options.h"

namespace phalanx::trainer {
namespace {

constexpr const char* kNumLearned = "num_learned";  // tokens of a chosen sample with a loss of their own

/// What the two share: rewards are log-probabilities, and the chosen answers are learned from, too.
class WithoutReference : public OfflineMethod {
 protected:
  using OfflineMethod::OfflineMethod;

  void prepare(std::vector<data::Batch>& local, const Step& step) override {
    OfflineMethod::prepare(local, step);
    double mine = 0;
    for (const data::Batch& batch : local) {
      const auto &counts = batch.sample_values.at(kNumLearned), &weights = batch.sample_values.at(kWeight);
      for (size_t chosen = 0; chosen < counts.size(); chosen += 2) mine += counts[chosen] * weights[chosen];
    }
    learned_tokens_ = std::max(1.0, sum_over_samples(mine));
  }

  at::Tensor weight_of_pairs(const data::Batch& local, const at::Tensor& like) const {
    return by_answer(sample_values(local, kWeight, like.options().requires_grad(false))).chosen;
  }

  /// The mean of -log p over learned tokens, this micro-batch's part. @param rows  log p.
  at::Tensor learned_loss(const data::Batch& local, const at::Tensor& rows) {
    const at::Tensor chosen = by_answer(sum_by_sample(rows, local, cp())).chosen;
    const at::Tensor sum = -(chosen * weight_of_pairs(local, rows)).sum();
    // Each addend of the mean is one addend of this figure: its count is a share of the global batch.
    const auto &counts = local.sample_values.at(kNumLearned), &weights = local.sample_values.at(kWeight);
    double count = 0;
    for (size_t i = 0; i < counts.size(); i += 2) count += counts[i] * weights[i];
    sums().add("nll_loss", sum.item<double>(), count);
    return sum / learned_tokens_;
  }

  void add(const char* name, const at::Tensor& values, const at::Tensor& weight) {
    sums().add(name, (values.detach() * weight).sum(at::kDouble).item<double>(), weight.sum().item<double>());
  }

  void add_metrics(const PairLogprobs& logprobs, const PairLogprobs& rewards, const at::Tensor& weight) {
    add("rewards/chosen", rewards.chosen, weight);
    add("rewards/rejected", rewards.rejected, weight);
    add("rewards/accuracies", (rewards.chosen > rewards.rejected).to(weight.scalar_type()), weight);
    add("rewards/margins", rewards.chosen - rewards.rejected, weight);
    add("logps/chosen", logprobs.chosen, weight);
    add("logps/rejected", logprobs.rejected, weight);
  }

 private:
  double learned_tokens_ = 1;  // of the global batch
};

class Cpo : public WithoutReference {
 public:
  Cpo(std::shared_ptr<const OfflineData> data, parallel::DistributedModel& model, const BatchSizes& sizes,
      CpoSettings settings)
      : WithoutReference(std::move(data), model, sizes), settings_(std::move(settings)) {}

 protected:
  data::Sequence sequence(const RowFeed& feed, int64_t sample) const override {
    data::Sequence pair = OfflineMethod::sequence(feed, sample);
    pair.sample_values[kNumLearned] = pair.sample_values.at(kNumTargets);
    return pair;
  }

  at::Tensor batch_loss(const data::Batch& local, const at::Tensor& hidden) override {
    const CpoLossOptions& o = settings_.loss;
    const at::Tensor rows = row_logprobs_of(local, hidden);
    at::Tensor sums = sample_sums(rows, local);
    if (o.loss_type == "ipo" || o.loss_type == "simpo")
      sums = sums / sample_values(local, kNumTargets, rows.options().requires_grad(false)).clamp_min(1);
    const ByAnswer logprobs = by_answer(sums);
    const at::Tensor weight = weight_of_pairs(local, rows);
    const PairLogprobs policy{logprobs.chosen, logprobs.rejected};
    at::Tensor loss = (cpo_loss(policy, o) * weight).sum() / num_rows();
    if (settings_.cpo_alpha != 0) loss = loss + settings_.cpo_alpha * learned_loss(local, rows);
    add_metrics(policy,
                {o.beta * cpo_reward(policy.chosen, o.alpha), o.beta * cpo_reward(policy.rejected, o.alpha)},
                weight);
    return loss;
  }

 private:
  CpoSettings settings_;
};

class Orpo : public WithoutReference {
 public:
  Orpo(std::shared_ptr<const OfflineData> data, parallel::DistributedModel& model, const BatchSizes& sizes,
       double beta)
      : WithoutReference(std::move(data), model, sizes), beta_(beta) {}

 protected:
  /// Every token of the chosen sample is predicted; the answers' own are marked by kTokenWeight.
  data::Sequence sequence(const RowFeed& feed, int64_t sample) const override {
    data::Sequence pair = OfflineMethod::sequence(feed, sample);
    std::vector<double>& is_answer = pair.row_values[kTokenWeight];
    for (const int32_t label : pair.labels) is_answer.push_back(label != data::kIgnoredLabel);
    const int32_t predicted = pair.lengths[0] - 1;
    for (int32_t t = 0; t < predicted; ++t)
      pair.labels[static_cast<size_t>(t)] = pair.input_ids[static_cast<size_t>(t) + 1];
    pair.sample_values[kNumLearned] = {static_cast<double>(predicted), 0};
    return pair;
  }

  at::Tensor batch_loss(const data::Batch& local, const at::Tensor& hidden) override {
    const at::Tensor rows = row_logprobs_of(local, hidden);
    const at::Tensor counts = sample_values(local, kNumTargets, rows.options().requires_grad(false));
    const ByAnswer means = by_answer(sample_sums(rows, local) / counts.clamp_min(1));
    const PairLogprobs policy{means.chosen, means.rejected};
    const at::Tensor weight = weight_of_pairs(local, rows);
    const at::Tensor log_odds = log_odds_ratio(policy), ratio = at::log_sigmoid(log_odds);
    add("log_odds_chosen", log_odds, weight);
    add("log_odds_ratio", ratio, weight);
    add_metrics(policy, {beta_ * policy.chosen, beta_ * policy.rejected}, weight);
    return learned_loss(local, rows) - beta_ * (ratio * weight).sum() / num_rows();
  }

 private:
  double beta_;
};

std::unique_ptr<Task> open_cpo(const core::Config& config, const ModelSetup& setup,
                               comm::Communicator& group) {
  const auto& method = config.get<MethodOptions>();
  CpoSettings settings;
  CpoLossOptions& loss = settings.loss;
  loss.loss_type = single_loss_type(config, loss.loss_type, {"sigmoid", "hinge", "ipo", "simpo", "alphapo"});
  settings.cpo_alpha = method.cpo_alpha.value_or(settings.cpo_alpha);
  if (loss.loss_type == "alphapo") {
    loss.loss_type = "simpo";
    if (method.cpo_alpha.value_or(0) != 0)
      fail_method_key(config, "cpo_alpha",
                      "must be 0 or left out with loss_type alphapo, which is simpo without "
                      "it");
    settings.cpo_alpha = 0;
  }
  if (method.simpo_gamma && loss.loss_type != "simpo")
    fail_method_key(config, "simpo_gamma",
                    "is set but only loss_type simpo and alphapo read it; leave it out");
  loss.beta = positive_beta(config);
  loss.label_smoothing =
      label_smoothing(config, loss.loss_type == "sigmoid" || loss.loss_type == "simpo", loss.loss_type);
  loss.simpo_gamma = method.simpo_gamma.value_or(loss.simpo_gamma);
  loss.alpha = method.alpha.value_or(loss.alpha);
  return cpo_task(open_offline_data(config, setup, group, data::SampleKind::kPreference), settings);
}

std::unique_ptr<Task> open_orpo(const core::Config& config, const ModelSetup& setup,
                                comm::Communicator& group) {
  return orpo_task(open_offline_data(config, setup, group, data::SampleKind::kPreference),
                   positive_beta(config));
}

}  // namespace

std::unique_ptr<Task> cpo_task(std::shared_ptr<const OfflineData> data, const CpoSettings& settings) {
  return offline_task(
      std::move(data),
      [settings](std::shared_ptr<const OfflineData> rows, const TrainedModel&,
                 parallel::DistributedModel& model, const BatchSizes& sizes) -> std::unique_ptr<Method> {
        return std::make_unique<Cpo>(std::move(rows), model, sizes, settings);
      });
}

std::unique_ptr<Task> orpo_task(std::shared_ptr<const OfflineData> data, double beta) {
  return offline_task(
      std::move(data),
      [beta](std::shared_ptr<const OfflineData> rows, const TrainedModel&, parallel::DistributedModel& model,
             const BatchSizes& sizes) -> std::unique_ptr<Method> {
        return std::make_unique<Orpo>(std::move(rows), model, sizes, beta);
      });
}

std::vector<MethodKind> cpo_methods() {
  return {
      {"cpo",
       "Contrastive preference optimisation, SimPO and AlphaPO: pairs without a reference.",
       {"beta", "loss_type", "label_smoothing", "cpo_alpha", "simpo_gamma", "alpha"},
       open_cpo},
      {"orpo",
       "Odds ratio preference optimisation: learns the chosen answers and prefers them, without a reference.",
       {"beta"},
       open_orpo}};
}

}  // namespace phalanx::trainer
