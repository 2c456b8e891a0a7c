#include "trainer/reward.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <limits>

#include "ops/sum_dtype.h"
#include "parallel/collective_ops.h"
#include "trainer/options.h"
#include "trainer/preference_losses.h"

namespace phalanx::trainer {
namespace {

class Reward : public OfflineMethod {
 public:
  Reward(std::shared_ptr<const OfflineData> data, parallel::DistributedModel& model, const BatchSizes& sizes,
         double center_rewards_coefficient)
      : OfflineMethod(std::move(data), model, sizes), center_(center_rewards_coefficient) {}

 protected:
  data::Sequence sequence(const RowFeed& feed, int64_t sample) const override {
    data::Sequence pair = OfflineMethod::sequence(feed, sample);
    mark_last_rows(pair);
    return pair;
  }

  at::Tensor batch_loss(const data::Batch& local, const at::Tensor& hidden) override {
    const at::Tensor scores = sample_scores(model(), local, hidden);
    const at::TensorOptions options = scores.options().requires_grad(false);
    const ByAnswer reward = by_answer(scores);
    const at::Tensor margin = by_answer(sample_values(local, kJudgement, options)).chosen;
    const at::Tensor weight = by_answer(sample_values(local, kWeight, options)).chosen;
    add_metrics({reward.chosen.detach(), reward.rejected.detach()}, weight);
    return (reward_loss(reward.chosen, reward.rejected, margin, center_) * weight).sum() / num_rows();
  }

 private:
  void add_metrics(const ByAnswer& reward, const at::Tensor& weight) {
    const double count = weight.sum().item<double>();
    const auto add = [&](const char* name, const at::Tensor& values) {
      sums().add(name, (values * weight).sum(at::kDouble).item<double>(), count);
    };
    add("accuracy", (reward.chosen > reward.rejected).to(weight.scalar_type()));
    add("margin", reward.chosen - reward.rejected);
    add("mean_reward", (reward.chosen + reward.rejected) / 2);
    for (const at::Tensor& scores : {reward.chosen, reward.rejected}) {
      const at::Tensor real = scores.masked_select(weight > 0);
      sums().add_lowest("min_reward", real);
      sums().add_highest("max_reward", real);
    }
  }

  double center_;
};

std::unique_ptr<Task> open_reward(const core::Config& config, const ModelSetup& setup,
                                  comm::Communicator& group) {
  return reward_task(open_offline_data(config, setup, group, data::SampleKind::kPreference),
                     config.get<MethodOptions>().center_rewards_coefficient.value_or(0));
}

}  // namespace

void mark_last_rows(data::Sequence& sequence) {
  std::vector<double>& is_last = sequence.row_values[kIsLast];
  is_last.assign(sequence.input_ids.size(), 0);
  size_t end = 0;
  for (const int32_t length : sequence.lengths) {
    end += static_cast<size_t>(length);
    is_last[end - 1] = 1;
  }
}

at::Tensor sample_scores(parallel::DistributedModel& model, const data::Batch& local,
                         const at::Tensor& hidden) {
  const at::Tensor wide = row_scores(hidden, model.mesh().tp(), [&](const at::Tensor& rows) {
    return model.model().head().scores(rows, model.model().output_weight(), {});
  });
  return sum_by_sample(wide * row_values(local, kIsLast, wide.options().requires_grad(false)), local,
                       model.mesh().cp());
}

std::unique_ptr<Task> reward_task(std::shared_ptr<const OfflineData> data,
                                  double center_rewards_coefficient) {
  return offline_task(std::move(data),
                      [center_rewards_coefficient](std::shared_ptr<const OfflineData> rows,
                                                   const TrainedModel&, parallel::DistributedModel& model,
                                                   const BatchSizes& sizes) -> std::unique_ptr<Method> {
                        return std::make_unique<Reward>(std::move(rows), model, sizes,
                                                        center_rewards_coefficient);
                      });
}

std::vector<MethodKind> reward_methods() {
  return {{"reward",
           "A reward model: a score for each answer, higher for chosen ones than for rejected ones "
           "(Bradley-Terry).",
           {"center_rewards_coefficient"},
           open_reward,
           1}};
}

}  // namespace phalanx::trainer
