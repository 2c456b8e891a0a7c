#include "trainer/offline_method.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <cmath>

#include "core/error.h"
#include "core/run_options.h"
#include "lora/lora_options.h"
#include "trainer/next_token.h"
#include "trainer/options.h"

namespace phalanx::trainer {
namespace {

/// A tied matrix gets both of its gradients in the backward here, so that stages, which have one of its uses
/// each, could not add them in the order in which one rank does.
void check_order_of_gradients(const parallel::DistributedModel& model) {
  model::CausalLm& lm = model.model();
  const bool is_tied = lm.config().tie_word_embeddings && lm.config().num_labels == 0;
  if (!model.options().mesh_invariant || model.mesh().shape().pp == 1 || !is_tied) return;
  if (!lm.output_weight().requires_grad()) return;
  core::fail(core::ExitCode::kBadConfig,
             "parallel.pp is {} but must be 1 with run.determinism: mesh_invariant where a method of "
             "log-probabilities trains a tied embedding; use dp or zero, train an adapter, or turn "
             "mesh_invariant off",
             model.mesh().shape().pp);
}

/// A model of files, as it is.
FrozenModel frozen_files(const std::shared_ptr<const ModelSetup>& setup, uint64_t seed) {
  return {[setup] { return setup->build(); },
          [setup, seed](model::CausalLm& model, at::ScalarType dtype) { setup->fill(model, dtype, seed); }};
}

std::shared_ptr<const ModelSetup> open_reference_model(const core::Config& config, const ModelSetup& policy,
                                                       const std::string& path) {
  auto setup = std::make_shared<const ModelSetup>(core::Config::defaults({"model.path=" + path}));
  if (setup->config().vocab_size == policy.config().vocab_size) return setup;
  core::fail(
      core::ExitCode::kBadConfig,
      "{}: error: method.ref_model is {} with vocab_size {}, but the trained model has {}; a reference must "
      "have its tokens",
      config.position("method.ref_model"), path, setup->config().vocab_size, policy.config().vocab_size);
}

}  // namespace

ReferenceSettings reference_settings(const core::Config& config, const ModelSetup& setup) {
  const auto& method = config.get<MethodOptions>();
  const auto seed = static_cast<uint64_t>(config.get<core::RunOptions>().seed);
  ReferenceSettings settings;
  settings.precompute = method.precompute_ref_log_probs.value_or(false);
  if (method.ref_model) {
    settings.frozen = frozen_files(open_reference_model(config, setup, *method.ref_model), seed);
    settings.is_copy = true;
    return settings;
  }
  const auto own = std::make_shared<const ModelSetup>(setup);
  settings.frozen = frozen_files(own, seed);
  if (!config.has("lora") || !config.get<lora::LoraOptions>().path) return settings;
  // An adapter that was trained before is part of the model that this run begins with.
  settings.is_copy = true;
  settings.frozen =
      with_adapter(std::move(settings.frozen), lora::open_adapter(*config.get<lora::LoraOptions>().path));
  return settings;
}

ByAnswer by_answer(const at::Tensor& of_samples) {
  const at::Tensor pairs = of_samples.view({-1, 2});
  return {pairs.select(1, 0), pairs.select(1, 1)};
}

OfflineMethod::OfflineMethod(std::shared_ptr<const OfflineData> data, parallel::DistributedModel& model,
                             const BatchSizes& sizes)
    : data_(std::move(data)), model_(model), sizes_(sizes), train_feed_(data_->train_feed(sizes.global)) {
  check_order_of_gradients(model);
  if (data_->eval) eval_feed_ = data_->eval_feed(sizes.global);
}

void OfflineMethod::use_reference(const ReferenceSettings& settings, const TrainedModel& trained) {
  if (!settings.precompute) {
    reference_ = settings.is_copy ? make_frozen_copy(settings.frozen, model_)
                                  : make_reference(settings.frozen, trained, model_);
    return;
  }
  tables_[&data_->train] = precomputed(data_->train, settings, trained);
  if (data_->eval) tables_[&*data_->eval] = precomputed(*data_->eval, settings, trained);
}

OfflineMethod::Table OfflineMethod::precomputed(const JudgedRows& rows, const ReferenceSettings& settings,
                                                const TrainedModel& trained) {
  reference_ = settings.is_copy ? make_frozen_copy(settings.frozen, model_)
                                : make_reference(settings.frozen, trained, model_);
  const RowFeed feed{&rows, {}, sizes_.global, rows.count};
  Table table;
  for (int64_t index = 0; feed.size_of_batch(index) > 0; ++index) {
    std::vector<data::Batch> local = local_parts(batches(feed, index));
    attach_reference_sums(local);
    std::vector<double> mine;
    for (const data::Batch& batch : local) {
      const auto found = batch.sample_values.find(kReferenceSums);
      if (found != batch.sample_values.end())
        mine.insert(mine.end(), found->second.begin(), found->second.end());
    }
    int64_t size = 0;
    for (const data::Batch& batch : local) size += static_cast<int64_t>(batch.cu_seqlens.size()) - 1;
    const at::Tensor all = in_global_order(mine.empty() ? at::Tensor() : at::tensor(mine, at::kDouble), size);
    table.insert(table.end(), all.const_data_ptr<double>(), all.const_data_ptr<double>() + all.numel());
  }
  reference_.reset();
  return table;
}

std::vector<data::Batch> OfflineMethod::batches(const RowFeed& feed, int64_t index) const {
  const Loader loader([&](int64_t sample) { return sequence(feed, sample); }, loader_options(sizes_, model_));
  return loader.load(index);
}

std::vector<data::Batch> OfflineMethod::local_parts(const std::vector<data::Batch>& batches) const {
  std::vector<data::Batch> local;
  for (const data::Batch& batch : batches) local.push_back(model_.local(batch));
  return local;
}

std::vector<data::Batch> OfflineMethod::load(int64_t step) {
  step_ = step;
  return batches(train_feed_, step);
}

void OfflineMethod::begin_step(std::vector<data::Batch>& local, const TokenCounts&) {
  const Step step{train_feed_, step_, true};
  num_rows_ = step.num_rows();
  prepare(local, step);
}

at::Tensor OfflineMethod::loss(size_t, const data::Batch& local, const model::LayersOutput& output) {
  return with_auxiliary_loss(count_value_once(batch_loss(local, output.hidden), cp()), model_.model(),
                             output);
}

std::vector<Metric> OfflineMethod::metrics() {
  return without_nan(finished(sums_.take(model_.mesh())));  // of answers of a kind that the batch may lack
}

std::optional<Evaluation> OfflineMethod::evaluate() {
  if (!eval_feed_) return std::nullopt;
  const at::NoGradGuard no_grad;
  double loss = 0, rows = 0;
  for (int64_t index = 0; eval_feed_->size_of_batch(index) > 0; ++index) {
    const Step step{*eval_feed_, index, false};
    std::vector<data::Batch> local = local_parts(batches(*eval_feed_, index));
    num_rows_ = step.num_rows();
    prepare(local, step);
    for (const data::Batch& batch : local) {
      const at::Tensor hidden = model_.schedule().forward(model_input(batch, device())).hidden;
      if (model_.has_output()) loss += batch_loss(batch, hidden).item<double>() * step.num_rows();
    }
    rows += step.num_rows();
  }
  model_.drop_gathered();
  Evaluation found;
  const double mean = model_.mesh().pp().all_reduce_scalar(sum_over_samples(loss)) / rows;
  found.row["eval_loss"] = mean;
  for (const Metric& metric : metrics()) found.row["eval_" + metric.name] = metric.value;
  found.summary = fmt::format("eval_loss {:.4f} on {} records", mean, static_cast<int64_t>(rows));
  for (const char* name : {"eval_rewards/accuracies", "eval_rewards/margins", "eval_accuracy", "eval_kl"}) {
    if (found.row.contains(name))
      found.summary += fmt::format(", {} {:.4f}", std::string(name).substr(5), found.row[name].get<double>());
  }
  return found;
}

data::Sequence OfflineMethod::sequence(const RowFeed& feed, int64_t sample) const {
  const int64_t row = feed.row(sample);
  data::Sequence sequence = feed.rows->row(row);
  const size_t samples = sequence.lengths.size();
  std::vector<double>& targets = sequence.sample_values[kNumTargets];
  size_t begin = 0;
  for (const int32_t length : sequence.lengths) {
    double count = 0;
    for (int32_t t = 0; t < length; ++t) count += sequence.labels[begin++] != data::kIgnoredLabel;
    targets.push_back(count);
  }
  sequence.sample_values[kWeight].assign(samples, feed.has(sample) ? 1 : 0);
  const auto table = tables_.find(feed.rows);
  if (table != tables_.end()) {
    const auto first = table->second.begin() + row * static_cast<int64_t>(samples);
    sequence.sample_values[kReferenceSums].assign(first, first + static_cast<std::ptrdiff_t>(samples));
  }
  return sequence;
}

void OfflineMethod::prepare(std::vector<data::Batch>& local, const Step&) {
  if (reference_) attach_reference_sums(local);
}

at::Tensor OfflineMethod::row_logprobs_of(const data::Batch& local, const at::Tensor& hidden) const {
  return row_logprobs(model_.model(), local, hidden);
}

at::Tensor OfflineMethod::sample_sums(const at::Tensor& rows, const data::Batch& local) const {
  const bool weighed = local.row_values.contains(kTokenWeight);
  return sum_by_sample(weighed ? rows * row_values(local, kTokenWeight, rows.options()) : rows, local, cp());
}

std::vector<at::Tensor> OfflineMethod::policy_sums(const std::vector<data::Batch>& local) const {
  const at::NoGradGuard no_grad;
  std::vector<at::Tensor> sums;
  for (const data::Batch& batch : local) {
    const at::Tensor rows = logprobs_of(model_, batch);
    sums.push_back(rows.defined() ? sample_sums(rows, batch).to(at::kDouble).cpu() : at::Tensor());
  }
  return sums;
}

void OfflineMethod::attach_reference_sums(std::vector<data::Batch>& local) const {
  attach_reference(*reference_, local);
  const at::NoGradGuard no_grad;
  for (data::Batch& batch : local) {
    if (!batch.row_values.contains(kReferenceLogprobs)) continue;
    const at::TensorOptions wide = at::TensorOptions(device()).dtype(at::kDouble);
    const at::Tensor sums =
        sample_sums(row_values(batch, kReferenceLogprobs, wide), batch).cpu().contiguous();
    const double* begin = sums.const_data_ptr<double>();
    batch.sample_values[kReferenceSums].assign(begin, begin + sums.numel());
    batch.row_values.erase(kReferenceLogprobs);
  }
}

at::Tensor OfflineMethod::in_global_order(const at::Tensor& mine, int64_t size) const {
  const parallel::Mesh& mesh = model_.mesh();
  const at::TensorOptions options = at::TensorOptions(mesh.world().device()).dtype(at::kDouble);
  const at::Tensor sent =
      mine.defined() && model_.has_output() ? mine.to(options) : at::zeros({size}, options);
  at::Tensor all = at::empty({size * mesh.dp().size()}, options);
  mesh.dp().all_gather(all, sent);
  mesh.pp().all_reduce(all);
  return all.cpu().contiguous();
}

double OfflineMethod::sum_over_samples(double mine) const {
  return model_.mesh().dp().all_reduce_scalar(mine);
}

}  // namespace phalanx::trainer
