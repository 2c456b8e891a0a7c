#include "trainer/prm.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "ops/sum_dtype.h"
#include "parallel/collective_ops.h"
#include "trainer/options.h"

namespace phalanx::trainer {
namespace {

class ProcessReward : public OfflineMethod {
 public:
  ProcessReward(std::shared_ptr<const OfflineData> data, parallel::DistributedModel& model,
                const BatchSizes& sizes)
      : OfflineMethod(std::move(data), model, sizes) {}

 protected:
  void prepare(std::vector<data::Batch>& local, const Step& step) override {
    OfflineMethod::prepare(local, step);
    double mine = 0;
    for (const data::Batch& batch : local) {
      const auto &counts = batch.sample_values.at(kNumTargets), &weights = batch.sample_values.at(kWeight);
      for (size_t i = 0; i < counts.size(); ++i) mine += counts[i] * weights[i];
    }
    num_labels_ = sum_over_samples(mine);
  }

  at::Tensor batch_loss(const data::Batch& local, const at::Tensor& hidden) override {
    model::CausalLm& lm = model().model();
    // Behind the last norm tensor parallelism adds the gradients of its ranks, which here all have the whole.
    const at::Tensor rows = parallel::count_once_in_group(hidden, model().mesh().tp());
    const at::Tensor scores = lm.head().scores(rows, lm.output_weight(), lm.output_bias());
    const at::Tensor log_p = at::log_softmax(scores.to(ops::sum_dtype(scores)), 1);  // [N, 2]
    const at::Tensor wanted = labels(local, hidden.device());
    const at::Tensor losses = at::nll_loss(log_p, wanted, {}, at::Reduction::None, data::kIgnoredLabel);
    const at::Tensor weight = sample_values(local, kWeight, losses.options().requires_grad(false));
    add_accuracy(log_p.detach(), wanted, weight, local);
    return (sum_by_sample(losses, local, cp()) * weight).sum() / std::max(1.0, num_labels_);
  }

 private:
  void add_accuracy(const at::Tensor& log_p, const at::Tensor& wanted, const at::Tensor& weight,
                    const data::Batch& local) {
    const at::Tensor counts = wanted.ne(data::kIgnoredLabel).to(log_p.scalar_type());
    const at::Tensor right = log_p.argmax(1).eq(wanted).to(log_p.scalar_type());
    sums().add("accuracy", (sum_by_sample(right, local, cp()) * weight).sum().item<double>(),
               (sum_by_sample(counts, local, cp()) * weight).sum().item<double>());
  }

  double num_labels_ = 1;  // of the batch under way
};

/// The same rows without the labels in front of the last one.
JudgedRows with_last_label(JudgedRows rows) {
  return {rows.count, [row_of = std::move(rows.row)](int64_t row) {
            data::Sequence sequence = row_of(row);
            const auto has_label = [](int32_t label) { return label != data::kIgnoredLabel; };
            const auto last = std::find_if(sequence.labels.rbegin(), sequence.labels.rend(), has_label);
            if (last != sequence.labels.rend())
              std::fill(last + 1, sequence.labels.rend(), static_cast<int32_t>(data::kIgnoredLabel));
            return sequence;
          }};
}

std::unique_ptr<Task> open_prm(const core::Config& config, const ModelSetup& setup,
                               comm::Communicator& group) {
  return prm_task(open_offline_data(config, setup, group, data::SampleKind::kStepwise),
                  config.get<MethodOptions>().train_on_last_step_only.value_or(false));
}

}  // namespace

std::unique_ptr<Task> prm_task(std::shared_ptr<const OfflineData> data, bool last_step_only) {
  if (last_step_only) {
    auto last = std::make_shared<OfflineData>(*data);
    last->train = with_last_label(std::move(last->train));
    data = std::move(last);
  }
  return offline_task(
      std::move(data),
      [](std::shared_ptr<const OfflineData> rows, const TrainedModel&, parallel::DistributedModel& model,
         const BatchSizes& sizes) -> std::unique_ptr<Method> {
        return std::make_unique<ProcessReward>(std::move(rows), model, sizes);
      });
}

std::vector<MethodKind> prm_methods() {
  return {{"prm",
           "A process reward model: whether each step of an answer is right, read behind the step.",
           {"step_separator", "train_on_last_step_only"},
           open_prm,
           /*num_labels=*/2,
           /*labels_tokens=*/true}};
}

}  // namespace phalanx::trainer
