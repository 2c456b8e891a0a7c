#include "trainer/sample_sums.h"

#include <ATen/ATen.h>

#include <limits>
#include <stdexcept>

#include "core/error.h"
#include "ops/sum_dtype.h"
#include "parallel/collective_ops.h"

namespace phalanx::trainer {
namespace {

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
                        double temperature) {
  const at::Tensor scaled = temperature == 1.0 ? hidden : hidden / temperature;
  return model.head().logprobs(scaled, model.output_weight(), labels(local, hidden.device()));
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

std::vector<Metric> MetricSums::take(const parallel::Mesh& mesh) {
  // Stages without the last layers have added nothing: the names come from those that have.
  std::string names;
  for (const auto& [name, sum] : sums_) names += name + "\n";
  for (const std::string& others : mesh.pp().all_gather_strings(names)) {
    if (!others.empty()) names = others;
  }
  std::vector<double> mine;
  std::vector<std::string> order;
  for (size_t begin = 0; begin < names.size();) {
    const size_t end = names.find('\n', begin);
    order.push_back(names.substr(begin, end - begin));
    const auto found = sums_.find(order.back());
    const bool counts = found != sums_.end() && (found->second.is_of_rows || mesh.cp().rank() == 0);
    mine.push_back(counts ? found->second.total : 0.0);
    mine.push_back(counts ? found->second.count : 0.0);
    begin = end + 1;
  }
  at::Tensor sums = at::tensor(mine, at::kDouble).to(mesh.world().device());
  if (!mine.empty()) {
    mesh.batch().all_reduce(sums);
    mesh.pp().all_reduce(sums);
  }
  sums = sums.cpu();
  std::vector<Metric> metrics;
  for (size_t i = 0; i < order.size(); ++i) {
    const double count = sums[static_cast<int64_t>(2 * i + 1)].item<double>();
    const double sum = sums[static_cast<int64_t>(2 * i)].item<double>();
    metrics.push_back({order[i], count == 0 ? std::numeric_limits<double>::quiet_NaN() : sum / count});
  }
  sums_.clear();
  return metrics;
}

}  // namespace phalanx::trainer
