#include "trainer/dpo.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <set>

#include "core/error.h"
#include "trainer/alignment_options.h"
#include "trainer/options.h"

namespace phalanx::trainer {
namespace {

constexpr const char* kSft = "sft";
constexpr int64_t kLogitRows = 128;  // whose logits are held at a time

bool is_sorted_loss(const std::string& type) {
  return type == "aot" || type == "aot_unpaired";
}

/// 1 for the first answer tokens, of which both answers have as many, ld_alpha for those behind them.
std::vector<double> length_weights(const data::Sequence& pair, double ld_alpha) {
  const std::vector<double>& counts = pair.sample_values.at(kNumTargets);
  const double shared = std::min(counts[0], counts[1]);
  std::vector<double> weights;
  size_t row = 0;
  for (const int32_t length : pair.lengths) {
    double count = 0;
    for (int32_t t = 0; t < length; ++t) {
      count += pair.labels[row++] != data::kIgnoredLabel;
      weights.push_back(count <= shared ? 1 : ld_alpha);
    }
  }
  return weights;
}

/// log sum p^2 over the vocabulary, [N], without a gradient.
at::Tensor log_sum_squares(const model::CausalLm& model, const at::Tensor& hidden, const at::Tensor& weight) {
  const at::NoGradGuard no_grad;
  std::vector<at::Tensor> parts;
  for (int64_t row = 0; row < hidden.size(0); row += kLogitRows) {
    const at::Tensor logits =
        model.head().logits(hidden.narrow(0, row, std::min(kLogitRows, hidden.size(0) - row)), weight);
    parts.push_back(at::logsumexp(2 * logits, -1) - 2 * at::logsumexp(logits, -1));
  }
  return at::cat(parts);
}

class Dpo : public OfflineMethod {
 public:
  Dpo(std::shared_ptr<const OfflineData> data, DpoSettings settings, const TrainedModel& trained,
      parallel::DistributedModel& model, const BatchSizes& sizes)
      : OfflineMethod(std::move(data), model, sizes), settings_(std::move(settings)) {
    use_reference(settings_.reference, trained);
  }

 protected:
  data::Sequence sequence(const RowFeed& feed, int64_t sample) const override;
  void prepare(std::vector<data::Batch>& local, const Step& step) override;
  at::Tensor batch_loss(const data::Batch& local, const at::Tensor& hidden) override;

 private:
  PairLossInput terms(const data::Batch& local, const ByAnswer& policy) const;
  void attach_partners(const std::string& type, std::vector<data::Batch>& local, const Step& step);
  at::Tensor wpo_weights(const data::Batch& local, const at::Tensor& hidden, const at::Tensor& rows) const;
  void add_metrics(const PairLossInput& terms, const at::Tensor& weight);

  DpoSettings settings_;
  double chosen_tokens_ = 1;  // of the global batch
};

data::Sequence Dpo::sequence(const RowFeed& feed, int64_t sample) const {
  data::Sequence pair = OfflineMethod::sequence(feed, sample);
  if (settings_.ld_alpha) pair.row_values[kTokenWeight] = length_weights(pair, *settings_.ld_alpha);
  return pair;
}

void Dpo::prepare(std::vector<data::Batch>& local, const Step& step) {
  OfflineMethod::prepare(local, step);
  double mine = 0;
  for (const data::Batch& batch : local) {
    const auto &counts = batch.sample_values.at(kNumTargets), &weights = batch.sample_values.at(kWeight);
    for (size_t chosen = 0; chosen < counts.size(); chosen += 2) mine += counts[chosen] * weights[chosen];
  }
  chosen_tokens_ = sum_over_samples(mine);
  for (const std::string& type : settings_.loss_types)
    if (is_sorted_loss(type)) attach_partners(type, local, step);
}

PairLossInput Dpo::terms(const data::Batch& local, const ByAnswer& policy) const {
  const at::TensorOptions options = policy.chosen.options().requires_grad(false);
  const ByAnswer reference = by_answer(sample_values(local, kReferenceSums, options));
  const ByAnswer counts = by_answer(sample_values(local, kNumTargets, options));
  return {{policy.chosen, policy.rejected},
          {reference.chosen, reference.rejected},
          {counts.chosen, counts.rejected}};
}

/// Sorting needs both sides of the whole global batch before the first backward: one more forward.
void Dpo::attach_partners(const std::string& type, std::vector<data::Batch>& local, const Step& step) {
  const std::vector<at::Tensor> sums = policy_sums(local);
  std::vector<at::Tensor> mine;
  int64_t num_samples = 0;
  for (size_t i = 0; i < local.size(); ++i) {
    num_samples += static_cast<int64_t>(local[i].cu_seqlens.size()) - 1;
    if (!sums[i].defined()) continue;
    const PairLogprobs sides = sorted_sides(type, terms(local[i], by_answer(sums[i])));
    mine.push_back(at::stack({sides.chosen, sides.rejected}, 1).view(-1));
  }
  const ByAnswer all = by_answer(in_global_order(mine.empty() ? at::Tensor() : at::cat(mine), num_samples));
  const int64_t real = step.feed.size_of_batch(step.index);
  const at::Tensor a = all.chosen.narrow(0, 0, real), b = all.rejected.narrow(0, 0, real);
  at::Tensor partners = at::zeros({all.chosen.size(0), 2}, at::kDouble);
  partners.narrow(0, 0, real).copy_(at::stack({sorted_partner(a, b), sorted_partner(b, a)}, 1));
  const double* next = partners.const_data_ptr<double>() + model().mesh().dp().rank() * num_samples;
  for (data::Batch& batch : local) {
    const auto size = static_cast<int64_t>(batch.cu_seqlens.size()) - 1;
    batch.sample_values[type].assign(next, next + size);
    next += size;
  }
}

at::Tensor Dpo::wpo_weights(const data::Batch& local, const at::Tensor& hidden,
                            const at::Tensor& rows) const {
  const at::NoGradGuard no_grad;
  const at::Tensor squares =
      log_sum_squares(model().model(), hidden.detach(), model().model().output_weight().detach());
  const at::Tensor is_target = labels(local, rows.device()) != data::kIgnoredLabel;
  const at::Tensor aligned = at::where(is_target, rows.detach() - squares.to(rows.scalar_type()), 0);
  const at::Tensor means =
      sum_by_sample(aligned, local, cp()) / sample_values(local, kNumTargets, aligned.options()).clamp_min(1);
  const ByAnswer weights = by_answer(means.exp());
  return weights.chosen * weights.rejected;
}

at::Tensor Dpo::batch_loss(const data::Batch& local, const at::Tensor& hidden) {
  const at::Tensor rows = row_logprobs_of(local, hidden);
  PairLossInput input = terms(local, by_answer(sample_sums(rows, local)));
  const at::TensorOptions options = rows.options().requires_grad(false);
  const at::Tensor weight = by_answer(sample_values(local, kWeight, options)).chosen;
  at::Tensor pair_weight = weight;
  if (settings_.use_weighting) pair_weight = weight * wpo_weights(local, hidden, rows);
  at::Tensor loss = at::zeros({}, options);
  for (size_t i = 0; i < settings_.loss_types.size(); ++i) {
    const std::string& type = settings_.loss_types[i];
    if (type == kSft) {
      const at::Tensor chosen = by_answer(sum_by_sample(rows, local, cp())).chosen;
      loss = loss - settings_.loss_weights[i] * (chosen * weight).sum() / chosen_tokens_;
      continue;
    }
    if (is_sorted_loss(type)) {
      const ByAnswer partners = by_answer(sample_values(local, type, options));
      input.partner = {partners.chosen, partners.rejected};
    }
    const at::Tensor losses = pair_loss(type, input, settings_.loss);
    loss = loss + settings_.loss_weights[i] * (losses * pair_weight).sum() / num_rows();
  }
  add_metrics(input, weight);
  return loss;
}

void Dpo::add_metrics(const PairLossInput& terms, const at::Tensor& weight) {
  const at::Tensor chosen = settings_.loss.beta * (terms.policy.chosen - terms.reference.chosen).detach();
  const at::Tensor rejected =
      settings_.loss.beta * (terms.policy.rejected - terms.reference.rejected).detach();
  const double count = weight.sum().item<double>();
  const auto add = [&](const char* name, const at::Tensor& values) {
    sums().add(name, (values.detach() * weight).sum(at::kDouble).item<double>(), count);
  };
  add("rewards/chosen", chosen);
  add("rewards/rejected", rejected);
  add("rewards/accuracies", (chosen > rejected).to(chosen.scalar_type()));
  add("rewards/margins", chosen - rejected);
  add("logps/chosen", terms.policy.chosen);
  add("logps/rejected", terms.policy.rejected);
}

class DpoOptionsReader {
 public:
  explicit DpoOptionsReader(const core::Config& config)
      : config_(config), method_(config.get<MethodOptions>()) {}

  DpoSettings read() const {
    DpoSettings s;
    s.loss_types = method_.loss_type.value_or(s.loss_types);
    check_types(s.loss_types);
    s.loss_weights = method_.loss_weights.value_or(std::vector<double>(s.loss_types.size(), 1));
    if (s.loss_weights.size() != s.loss_types.size())
      fail_method_key(config_, "loss_weights",
                      fmt::format("has {} numbers but loss_type has {} names; give each its weight",
                                  s.loss_weights.size(), s.loss_types.size()));
    s.loss = {positive_beta(config_), smoothing(s.loss_types),
              method_.f_divergence_type.value_or("reverse_kl"), method_.f_alpha_divergence_coef.value_or(0.5),
              method_.discopop_tau.value_or(0.05)};
    check_divergence(s);
    s.ld_alpha = method_.ld_alpha;
    s.use_weighting = method_.use_weighting.value_or(false);
    if (s.use_weighting) refuse(s.loss_types, {"aot", "aot_unpaired", kSft}, "use_weighting", "is true");
    return s;
  }

 private:
  void check_types(const std::vector<std::string>& types) const {
    std::vector<std::string> known = pair_loss_names();
    known.emplace_back(kSft);
    for (const std::string& type : types) {
      if (std::ranges::find(known, type) == known.end())
        fail_method_key(config_, "loss_type",
                        fmt::format("has \"{}\"; known with method.name: dpo are {}", core::printable(type),
                                    fmt::join(known, ", ")));
    }
    if (types.empty() || std::set<std::string>(types.begin(), types.end()).size() != types.size())
      fail_method_key(config_, "loss_type", "must have at least one name, and each once");
  }

  double smoothing(const std::vector<std::string>& types) const {
    const bool is_read = std::ranges::any_of(types, [](const std::string& type) {
      return type == "sigmoid" || type == "exo_pair" || type == "robust" || is_sorted_loss(type);
    });
    const double eps = label_smoothing(config_, is_read, fmt::format("{}", fmt::join(types, ", ")));
    const bool has_exo = std::ranges::find(types, "exo_pair") != types.end();
    if (has_exo && eps == 0)
      fail_method_key(config_, "label_smoothing",
                      "is 0 but must be above 0 with loss_type exo_pair; try 1e-3");
    if (eps == 0.5 && std::ranges::find(types, "robust") != types.end())
      fail_method_key(config_, "label_smoothing",
                      "is 0.5 but must be below 0.5 with loss_type robust; try 0.1");
    return eps;
  }

  // The part of a reward that depends on the prompt alone only goes in the difference of two scores.
  void check_divergence(const DpoSettings& s) const {
    if (s.loss.f_divergence_type != "reverse_kl")
      refuse(s.loss_types,
             {"nca_pair", "bco_pair", "sppo_hard", "aot", "aot_unpaired", "apo_zero", "apo_down"},
             "f_divergence_type", "is " + s.loss.f_divergence_type);
    if (method_.f_alpha_divergence_coef && s.loss.f_divergence_type != "alpha_divergence")
      fail_method_key(config_, "f_alpha_divergence_coef",
                      "is set but only f_divergence_type: alpha_divergence reads it; leave it out");
    if (method_.discopop_tau && std::ranges::find(s.loss_types, "discopop") == s.loss_types.end())
      fail_method_key(config_, "discopop_tau", "is set but only loss_type discopop reads it; leave it out");
  }

  void refuse(const std::vector<std::string>& types, const std::vector<std::string>& without,
              const std::string& key, const std::string& value) const {
    for (const std::string& type : types) {
      if (std::ranges::find(without, type) != without.end())
        fail_method_key(
            config_, key,
            fmt::format("{} but has no meaning with loss_type {}; the others have one", value, type));
    }
  }

  const core::Config& config_;
  const MethodOptions& method_;
};

std::unique_ptr<Task> open_dpo(const core::Config& config, const ModelSetup& setup,
                               comm::Communicator& group) {
  DpoSettings settings = DpoOptionsReader(config).read();
  settings.reference = reference_settings(config, setup);
  return dpo_task(open_offline_data(config, setup, group, data::SampleKind::kPreference), settings);
}

}  // namespace

std::unique_ptr<Task> dpo_task(std::shared_ptr<const OfflineData> data, const DpoSettings& settings) {
  return offline_task(
      std::move(data),
      [settings](std::shared_ptr<const OfflineData> rows, const TrainedModel& trained,
                 parallel::DistributedModel& model, const BatchSizes& sizes) -> std::unique_ptr<Method> {
        return std::make_unique<Dpo>(std::move(rows), settings, trained, model, sizes);
      });
}

std::vector<MethodKind> dpo_methods() {
  return {{"dpo",
           "Direct preference optimisation and its relatives: chosen answers over rejected ones, held to a "
           "reference.",
           {"beta", "loss_type", "loss_weights", "label_smoothing", "f_divergence_type",
            "f_alpha_divergence_coef", "ld_alpha", "discopop_tau", "use_weighting", "ref_model",
            "precompute_ref_log_probs"},
           open_dpo}};
}

}  // namespace phalanx::trainer
