#include "trainer/sample_sums.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <sstream>
#include <stdexcept>

#include "core/error.h"
#include "ops/sum_dtype.h"
#include "parallel/collective_ops.h"

namespace phalanx::trainer {
namespace {

constexpr double kInfinite = std::numeric_limits<double>::infinity();

at::Tensor sum_rows(const at::Tensor& rows, const data::Batch& local) {
  const auto num_samples = static_cast<int64_t>(local.cu_seqlens.size()) - 1;
  const at::Tensor index = at::tensor(local.samples, at::kLong).to(rows.device());
  return at::zeros({num_samples}, rows.options()).index_add(0, index, rows);
}

at::Tensor named_values(const data::Values& values, const std::string& name,
                        const at::TensorOptions& options) {
  const auto found = values.find(name);
  if (found == values.end()) throw std::logic_error("a batch has no values of " + name);
  return at::tensor(found->second, at::kDouble).to(options);
}

}  // namespace

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

at::Tensor row_logprobs(model::CausalLm& model, const data::Batch& local, const at::Tensor& hidden,
                        const ops::LogprobOptions& options) {
  return model.head().logprobs(hidden, model.output_weight(), labels(local, hidden.device()), options);
}

at::Tensor row_scores(const at::Tensor& hidden, comm::Communicator& tp,
                      const std::function<at::Tensor(const at::Tensor& hidden)>& score) {
  // Behind the last norm tensor parallelism adds the gradients of its ranks, which here all have the whole.
  const at::Tensor scores = score(parallel::count_once_in_group(hidden, tp)).select(1, 0);
  return scores.to(ops::sum_dtype(scores));
}

at::Tensor sum_by_sample(const at::Tensor& rows, const data::Batch& local, comm::Communicator& cp) {
  return parallel::sum_over_group(sum_rows(rows, local), cp);
}

at::Tensor targets_by_sample(const data::Batch& local, comm::Communicator& cp) {
  std::vector<double> counted;
  for (const int64_t label : local.labels) counted.push_back(label != data::kIgnoredLabel);
  at::Tensor sums = sum_rows(at::tensor(counted, at::kDouble), local).to(cp.device());
  if (cp.size() > 1) cp.all_reduce(sums);
  return sums;
}

at::Tensor count_value_once(const at::Tensor& loss, comm::Communicator& cp) {
  return cp.rank() == 0 ? loss : loss - loss.detach();
}

at::Tensor row_values(const data::Batch& local, const std::string& name, const at::TensorOptions& options) {
  return named_values(local.row_values, name, options);
}

at::Tensor sample_values(const data::Batch& local, const std::string& name,
                         const at::TensorOptions& options) {
  return named_values(local.sample_values, name, options);
}

void MetricSums::add(const std::string& name, double sum, double count) {
  Sum& all = sums_[name];
  all.total += sum;
  all.count += count;
}

void MetricSums::add_rows(const std::string& name, double sum, double count) {
  add(name, sum, count);
  sums_[name].is_of_rows = true;
}

void MetricSums::add(const std::string& name, const at::Tensor& values) {
  add(name, values.detach().sum(at::kDouble).item<double>(), static_cast<double>(values.numel()));
}

void MetricSums::add_extreme(const std::string& name, Kind kind, const at::Tensor& values) {
  Sum& all = sums_.try_emplace(name, Sum{.kind = kind, .total = -kInfinite}).first->second;
  if (values.numel() == 0) return;
  const at::Tensor signed_values = kind == Kind::kLowest ? values.detach().neg() : values.detach();
  all.total = std::max(all.total, signed_values.max().item<double>());
  all.count = 1;
}

void MetricSums::add_lowest(const std::string& name, const at::Tensor& values) {
  add_extreme(name, Kind::kLowest, values);
}

void MetricSums::add_highest(const std::string& name, const at::Tensor& values) {
  add_extreme(name, Kind::kHighest, values);
}

std::vector<Metric> MetricSums::take(const parallel::Mesh& mesh) {
  // Stages without the last layers have added nothing: the names come from those that have.
  std::string names;
  for (const auto& [name, sum] : sums_) names += std::to_string(static_cast<int>(sum.kind)) + name + "\n";
  for (const std::string& others : mesh.pp().all_gather_strings(names)) {
    if (!others.empty()) names = others;
  }
  std::vector<std::pair<Kind, std::string>> order;
  std::vector<double> sums, extremes;
  std::istringstream lines(names);
  for (std::string line; std::getline(lines, line);) {
    const auto kind = static_cast<Kind>(line[0] - '0');
    order.emplace_back(kind, line.substr(1));
    const auto found = sums_.find(order.back().second);
    const bool counts = found != sums_.end() && (found->second.is_of_rows || mesh.cp().rank() == 0);
    const bool is_mean = kind == Kind::kMean;
    sums.push_back(counts && is_mean ? found->second.total : 0.0);
    sums.push_back(counts ? found->second.count : 0.0);
    extremes.push_back(counts && !is_mean ? found->second.total : -kInfinite);
  }
  const auto over_ranks = [&](const std::vector<double>& mine, comm::ReduceOp op) {
    at::Tensor all = at::tensor(mine, at::kDouble).to(mesh.world().device());
    if (!mine.empty()) {
      mesh.batch().all_reduce(all, op);
      mesh.pp().all_reduce(all, op);
    }
    all = all.cpu();
    return std::vector<double>(all.const_data_ptr<double>(), all.const_data_ptr<double>() + all.numel());
  };
  sums = over_ranks(sums, comm::ReduceOp::kSum);
  extremes = over_ranks(extremes, comm::ReduceOp::kMax);
  std::vector<Metric> metrics;
  for (size_t i = 0; i < order.size(); ++i) {
    const auto& [kind, name] = order[i];
    const double value = kind == Kind::kMean      ? sums[2 * i] / sums[2 * i + 1]
                         : kind == Kind::kHighest ? extremes[i]
                                                  : -extremes[i];
    metrics.push_back({name, sums[2 * i + 1] == 0 ? std::numeric_limits<double>::quiet_NaN() : value});
  }
  sums_.clear();
  return metrics;
}

std::vector<Metric> without_nan(std::vector<Metric> metrics) {
  std::erase_if(metrics, [](const Metric& metric) { return std::isnan(metric.value); });
  return metrics;
}

}  // namespace phalanx::trainer
