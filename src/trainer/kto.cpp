#include "trainer/kto.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "trainer/alignment_options.h"
#include "trainer/options.h"
#include "trainer/preference_losses.h"

namespace phalanx::trainer {
namespace {

/// Rows [0, count) of a sample are its prompt.
size_t prompt_length(const data::Sequence& sample) {
  const auto first = std::ranges::find_if(
      sample.labels, [](int32_t label) { return label != static_cast<int32_t>(data::kIgnoredLabel); });
  return static_cast<size_t>(first - sample.labels.begin()) + 1;
}

/// The prompt of `prompted` with the answer of `answered`, cut to `longest` tokens.
data::Sequence mismatched(const data::Sequence& prompted, const data::Sequence& answered, size_t longest) {
  const size_t prompt = prompt_length(prompted), answer = prompt_length(answered);
  data::Sequence sample;
  sample.input_ids.assign(prompted.input_ids.begin(),
                          prompted.input_ids.begin() + static_cast<std::ptrdiff_t>(prompt));
  sample.input_ids.insert(sample.input_ids.end(),
                          answered.input_ids.begin() + static_cast<std::ptrdiff_t>(answer),
                          answered.input_ids.end());
  if (sample.input_ids.size() > longest) sample.input_ids.resize(longest);
  for (size_t t = 0; t < sample.input_ids.size(); ++t) {
    const bool has_target = t + 1 >= prompt && t + 1 < sample.input_ids.size();
    sample.labels.push_back(has_target ? sample.input_ids[t + 1] : static_cast<int32_t>(data::kIgnoredLabel));
    sample.position_ids.push_back(static_cast<int32_t>(t));
  }
  sample.lengths = {static_cast<int32_t>(sample.input_ids.size())};
  sample.record_ids = prompted.record_ids;
  return sample;
}

/// What both have: log ratios of single answers.
class UnpairedMethod : public OfflineMethod {
 protected:
  UnpairedMethod(std::shared_ptr<const OfflineData> data, parallel::DistributedModel& model,
                 const BatchSizes& sizes, double beta)
      : OfflineMethod(std::move(data), model, sizes), beta_(beta) {}

  virtual at::Tensor losses(const at::Tensor& logratios, const at::Tensor& desirable) const = 0;

  at::Tensor batch_loss(const data::Batch& local, const at::Tensor& hidden) override {
    const at::Tensor logprobs = sample_sums(row_logprobs_of(local, hidden), local);
    const at::TensorOptions options = logprobs.options().requires_grad(false);
    const at::Tensor logratios = logprobs - sample_values(local, kReferenceSums, options);
    const at::Tensor desirable = sample_values(local, kJudgement, options);
    const at::Tensor weight = sample_values(local, kWeight, options);
    add_metrics(logprobs.detach(), beta_ * logratios.detach(), desirable * weight, "chosen");
    add_metrics(logprobs.detach(), beta_ * logratios.detach(), (1 - desirable) * weight, "rejected");
    return (losses(logratios, desirable) * weight).sum() / num_rows();
  }

  std::vector<Metric> finished(std::vector<Metric> metrics) override {
    double chosen = 0, rejected = 0;
    for (const Metric& metric : metrics) {
      if (metric.name == "rewards/chosen") chosen = metric.value;
      if (metric.name == "rewards/rejected") rejected = metric.value;
    }
    metrics.push_back({"rewards/margins", chosen - rejected});
    return metrics;
  }

  /// Log ratios [global batch] of the samples of micro-batches in their order, on every rank. Collective.
  at::Tensor all_logratios(const std::vector<data::Batch>& local) const {
    const std::vector<at::Tensor> sums = policy_sums(local);
    std::vector<at::Tensor> mine;
    int64_t num_samples = 0;
    for (size_t i = 0; i < local.size(); ++i) {
      num_samples += static_cast<int64_t>(local[i].cu_seqlens.size()) - 1;
      if (sums[i].defined())
        mine.push_back(sums[i] - sample_values(local[i], kReferenceSums, sums[i].options()));
    }
    return in_global_order(mine.empty() ? at::Tensor() : at::cat(mine), num_samples);
  }

  double beta() const { return beta_; }

 private:
  void add_metrics(const at::Tensor& logprobs, const at::Tensor& rewards, const at::Tensor& weight,
                   const std::string& kind) {
    const double count = weight.sum().item<double>();
    sums().add("rewards/" + kind, (rewards * weight).sum(at::kDouble).item<double>(), count);
    sums().add("logps/" + kind, (logprobs * weight).sum(at::kDouble).item<double>(), count);
  }

  double beta_;
};

class Kto : public UnpairedMethod {
 public:
  Kto(std::shared_ptr<const OfflineData> data, const KtoSettings& settings, const TrainedModel& trained,
      parallel::DistributedModel& model, const BatchSizes& sizes)
      : UnpairedMethod(data, model, sizes, settings.beta), data_(std::move(data)), settings_(settings) {
    use_reference(settings_.reference, trained);
  }

 protected:
  void prepare(std::vector<data::Batch>& local, const Step& step) override {
    OfflineMethod::prepare(local, step);
    if (settings_.loss_type != "kto") return;
    const Loader loader(
        [&](int64_t sample) {
          data::Sequence other = mismatched(step.feed.rows->row(step.feed.row(sample)),
                                            step.feed.rows->row(step.feed.row(step.feed.before(sample))),
                                            static_cast<size_t>(data_->max_length));
          return other;
        },
        loader_options(sizes(), model()));
    std::vector<data::Batch> others = local_parts(loader.load(step.index));
    attach_reference_sums(others);
    const at::Tensor logratios = all_logratios(others).narrow(0, 0, step.feed.size_of_batch(step.index));
    kl_ = std::max(0.0, logratios.mean().item<double>());
  }

  at::Tensor batch_loss(const data::Batch& local, const at::Tensor& hidden) override {
    if (settings_.loss_type == "kto") sums().add("kl", kl_, 1);
    return UnpairedMethod::batch_loss(local, hidden);
  }

  at::Tensor losses(const at::Tensor& logratios, const at::Tensor& desirable) const override {
    const at::Tensor weight =
        settings_.desirable_weight * desirable + settings_.undesirable_weight * (1 - desirable);
    return weight * kto_loss(settings_.loss_type, logratios, desirable, kl_, beta());
  }

 private:
  std::shared_ptr<const OfflineData> data_;
  KtoSettings settings_;
  double kl_ = 0;
};

class Bco : public UnpairedMethod {
 public:
  Bco(std::shared_ptr<const OfflineData> data, double beta, const ReferenceSettings& reference,
      const TrainedModel& trained, parallel::DistributedModel& model, const BatchSizes& sizes)
      : UnpairedMethod(std::move(data), model, sizes, beta) {
    use_reference(reference, trained);
  }
  nlohmann::ordered_json state() const override { return {{"delta", delta_}, {"num_rewards", num_rewards_}}; }
  void restore(const nlohmann::ordered_json& state) override {
    delta_ = state.at("delta").get<double>();
    num_rewards_ = state.at("num_rewards").get<double>();
  }

 protected:
  void prepare(std::vector<data::Batch>& local, const Step& step) override {
    OfflineMethod::prepare(local, step);
    if (!step.is_training) return;
    const double mean = beta() * all_logratios(local).mean().item<double>();
    num_rewards_ += step.num_rows();
    delta_ += (mean - delta_) * step.num_rows() / num_rewards_;
  }

  at::Tensor batch_loss(const data::Batch& local, const at::Tensor& hidden) override {
    sums().add("delta", delta_, 1);
    return UnpairedMethod::batch_loss(local, hidden);
  }

  at::Tensor losses(const at::Tensor& logratios, const at::Tensor& desirable) const override {
    return bco_loss(logratios, desirable, delta_, beta());
  }

 private:
  double delta_ = 0, num_rewards_ = 0;
};

std::unique_ptr<Task> open_kto(const core::Config& config, const ModelSetup& setup,
                               comm::Communicator& group) {
  const auto& method = config.get<MethodOptions>();
  KtoSettings settings;
  settings.loss_type = single_loss_type(config, settings.loss_type, {"kto", "apo_zero_unpaired"});
  settings.beta = positive_beta(config);
  settings.desirable_weight = method.desirable_weight.value_or(settings.desirable_weight);
  settings.undesirable_weight = method.undesirable_weight.value_or(settings.undesirable_weight);
  settings.reference = reference_settings(config, setup);
  return kto_task(open_offline_data(config, setup, group, data::SampleKind::kUnpaired), settings);
}

std::unique_ptr<Task> open_bco(const core::Config& config, const ModelSetup& setup,
                               comm::Communicator& group) {
  return bco_task(open_offline_data(config, setup, group, data::SampleKind::kUnpaired), positive_beta(config),
                  reference_settings(config, setup));
}

}  // namespace

std::unique_ptr<Task> kto_task(std::shared_ptr<const OfflineData> data, const KtoSettings& settings) {
  return offline_task(
      std::move(data),
      [settings](std::shared_ptr<const OfflineData> rows, const TrainedModel& trained,
                 parallel::DistributedModel& model, const BatchSizes& sizes) -> std::unique_ptr<Method> {
        return std::make_unique<Kto>(std::move(rows), settings, trained, model, sizes);
      });
}

std::unique_ptr<Task> bco_task(std::shared_ptr<const OfflineData> data, double beta,
                               const ReferenceSettings& reference) {
  return offline_task(std::move(data),
                      [beta, reference](std::shared_ptr<const OfflineData> rows, const TrainedModel& trained,
                                        parallel::DistributedModel& model,
                                        const BatchSizes& sizes) -> std::unique_ptr<Method> {
                        return std::make_unique<Bco>(std::move(rows), beta, reference, trained, model, sizes);
                      });
}

std::vector<MethodKind> kto_methods() {
  return {{"kto",
           "Kahneman-Tversky optimisation: answers that are wanted or not, held to a reference.",
           {"beta", "loss_type", "desirable_weight", "undesirable_weight", "ref_model"},
           open_kto},
          {"bco",
           "Binary classifier optimisation: answers that are wanted or not, against the mean reward so far.",
           {"beta", "ref_model", "precompute_ref_log_probs"},
           open_bco}};
}

}  // namespace phalanx::trainer
