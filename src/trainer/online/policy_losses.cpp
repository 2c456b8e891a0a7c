#include "trainer/online/policy_losses.h"

#include <ATen/ATen.h>

#include <functional>

namespace phalanx::trainer {
namespace {

at::Tensor clipped(const at::Tensor& ratio, const PolicyLossOptions& options) {
  return ratio.clamp(1 - options.epsilon, 1 + options.epsilon_high);
}

/// Of one ratio and advantage each; `logprobs` only for cispo.
at::Tensor surrogate(const at::Tensor& ratio, const at::Tensor& advantages, const at::Tensor& logprobs,
                     const PolicyLossOptions& options) {
  if (options.loss_type == "cispo")
    return -ratio.clamp_max(options.epsilon_high).detach() * advantages * logprobs;
  if (options.loss_type == "sapo") {
    const at::Tensor t = at::where(advantages > 0, at::full_like(advantages, options.sapo_temperature_pos),
                                   at::full_like(advantages, options.sapo_temperature_neg));
    return -(t * (ratio - 1)).sigmoid() * 4 / t * advantages;
  }
  const at::Tensor bounded = options.delta ? ratio.clamp_max(*options.delta) : ratio;
  return -at::minimum(bounded * advantages, clipped(ratio, options) * advantages);
}

at::Tensor rows_of_samples(const at::Tensor& samples, const data::Batch& local) {
  return samples.index_select(0, at::tensor(local.samples, at::kLong).to(samples.device()));
}

/// [N]: what each row's loss is multiplied by.
at::Tensor row_weights(const at::Tensor& mask, const at::Tensor& lengths, const PolicyLossOptions& options,
                       const PolicyTotals& totals, const data::Batch& local) {
  if (options.loss_type == "grpo" || options.loss_type == "sapo")
    return mask / (rows_of_samples(lengths.clamp_min(1.0), local) * totals.samples);
  if (options.loss_type == "dr_grpo")
    return mask / (totals.samples * static_cast<double>(options.max_completion_length));
  if (options.loss_type == "luspo") return mask / totals.samples;
  return mask / std::max(1.0, totals.tokens);
}

at::Tensor divergence(const PolicyRows& rows) {
  const at::Tensor apart = rows.ref_logprobs - rows.logprobs;
  return apart.exp() - apart - 1;
}

using AddMetric = void (MetricSums::*)(const std::string&, double, double);
constexpr AddMetric kOfSamples = &MetricSums::add;

/// One number per counted row (add_rows), or per sample of this data-parallel rank (add).
/// @param sample_means  of such numbers: [S]
void add_clip_metrics(const at::Tensor& ratio, const at::Tensor& advantages, const at::Tensor& mask,
                      const PolicyLossOptions& options, MetricSums& metrics, AddMetric add_metric,
                      const std::function<at::Tensor(const at::Tensor&)>& sample_means) {
  const double count = mask.sum().item<double>();
  const auto add = [&](const char* name, const at::Tensor& is_clipped) {
    (metrics.*add_metric)(name, (is_clipped.to(mask.scalar_type()) * mask).sum().item<double>(), count);
  };
  if (options.loss_type == "cispo") {
    add("cispo_clip_ratio", ratio.gt(options.epsilon_high).logical_and(advantages > 0));
    return;
  }
  const at::Tensor low = ratio.lt(1 - options.epsilon).logical_and(advantages < 0);
  const at::Tensor high = ratio.gt(1 + options.epsilon_high).logical_and(advantages > 0);
  add("clip_ratio/low_mean", low);
  add("clip_ratio/high_mean", high);
  add("clip_ratio/region_mean", low.logical_or(high));
  metrics.add_lowest("clip_ratio/low_min", sample_means(low.to(mask.scalar_type())));
  metrics.add_highest("clip_ratio/high_max", sample_means(high.to(mask.scalar_type())));
}

at::Tensor as_they_are(const at::Tensor& of_samples) {
  return of_samples;
}

/// A sample's advantage: the same on all its counted rows, on every rank of `cp`.
at::Tensor sample_advantages(const PolicyRows& rows, const at::Tensor& lengths, const data::Batch& local,
                             comm::Communicator& cp) {
  return sum_by_sample(rows.advantages * rows.mask, local, cp) / lengths.clamp_min(1.0);
}

}  // namespace

at::Tensor policy_loss(const PolicyRows& rows, const PolicyLossOptions& options, const PolicyTotals& totals,
                       const data::Batch& local, comm::Communicator& cp, MetricSums& metrics) {
  const at::Tensor lengths = sum_by_sample(rows.mask, local, cp);
  const at::Tensor weights = row_weights(rows.mask, lengths, options, totals, local);
  const at::Tensor log_ratio = (rows.logprobs - rows.old_logprobs) * rows.mask;
  at::Tensor kl;
  if (rows.ref_logprobs.defined()) kl = divergence(rows);
  const auto add_kl = [&](const at::Tensor& values) {
    metrics.add_rows("kl", (values.detach() * rows.mask).sum().item<double>(),
                     rows.mask.sum().item<double>());
  };
  if (options.importance_sampling_level == "token") {
    const at::Tensor ratio = log_ratio.exp();
    add_clip_metrics(ratio.detach(), rows.advantages, rows.mask, options, metrics, &MetricSums::add_rows,
                     [&](const at::Tensor& flags) {
                       const at::Tensor means = sum_by_sample(flags * rows.mask, local, cp) / lengths;
                       return means.masked_select(lengths > 0);
                     });
    at::Tensor losses = surrogate(ratio, rows.advantages, rows.logprobs, options);
    if (kl.defined()) {
      if (options.use_bias_correction_kl) kl = kl * ratio;
      add_kl(kl);
      losses = losses + options.beta * kl;
    }
    return (losses * weights).sum();
  }
  const at::Tensor ratio = (sum_by_sample(log_ratio, local, cp) / lengths.clamp_min(1.0)).exp();  // [S]
  const at::Tensor advantages = sample_advantages(rows, lengths, local, cp);
  add_clip_metrics(ratio.detach(), advantages, at::ones_like(ratio), options, metrics, kOfSamples,
                   as_they_are);
  // What all rows of a sample have in common is theirs together: each rank of cp forms it whole.
  const at::Tensor sample_weights = sum_by_sample(weights, local, cp);
  at::Tensor of_rows = at::zeros({}, rows.logprobs.options()), of_samples = of_rows;
  if (options.loss_type == "cispo") {
    const at::Tensor factors = rows_of_samples(ratio.detach(), local);
    of_rows = (surrogate(factors, rows.advantages, rows.logprobs, options) * weights).sum();
  } else {
    of_samples = (surrogate(ratio, advantages, {}, options) * sample_weights).sum();
  }
  if (kl.defined()) add_kl(options.use_bias_correction_kl ? kl * rows_of_samples(ratio, local) : kl);
  if (kl.defined() && options.use_bias_correction_kl) {
    of_samples = of_samples + options.beta * (sum_by_sample(kl * weights, local, cp) * ratio).sum();
  } else if (kl.defined()) {
    of_rows = of_rows + options.beta * (kl * weights).sum();
  }
  return of_rows + count_value_once(of_samples, cp);
}

at::Tensor rloo_loss(const PolicyRows& rows, const PolicyLossOptions& options, const PolicyTotals& totals,
                     const data::Batch& local, comm::Communicator& cp, MetricSums& metrics) {
  const at::Tensor lengths = sum_by_sample(rows.mask, local, cp);
  const at::Tensor ratio = sum_by_sample((rows.logprobs - rows.old_logprobs) * rows.mask, local, cp).exp();
  const at::Tensor advantages = sample_advantages(rows, lengths, local, cp);
  add_clip_metrics(ratio.detach(), advantages, at::ones_like(ratio), options, metrics, kOfSamples,
                   as_they_are);
  const at::Tensor losses = -at::minimum(ratio * advantages, clipped(ratio, options) * advantages);
  return count_value_once(losses.sum() / totals.samples, cp);
}

}  // namespace phalanx::trainer
