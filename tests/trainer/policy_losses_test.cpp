#include "trainer/online/policy_losses.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "comm/run_ranks.h"
#include "trainer/online/advantages.h"

namespace phalanx::trainer {
namespace {

using nlohmann::json;

const json& golden_policy() {
  static const json golden = json::parse(
      std::ifstream(std::string(PHALANX_SOURCE_DIR) + "/tests/trainer/golden/policy_losses.json"));
  return golden;
}

/// The golden samples, each with an uncounted row in front, as the batch of rows [begin, end).
data::Batch batch_of_rows(int64_t begin, int64_t end) {
  data::Batch batch;
  batch.cu_seqlens = {0};
  int64_t row = 0;
  for (const int64_t length : golden_policy()["lengths"]) {
    for (int64_t t = 0; t <= length; ++t, ++row) {
      if (row >= begin && row < end)
        batch.samples.push_back(static_cast<int64_t>(batch.cu_seqlens.size()) - 1);
    }
    batch.cu_seqlens.push_back(static_cast<int32_t>(row));
  }
  return batch;
}

/// Values of counted rows on all rows, `filler` on the others.
at::Tensor on_all_rows(const std::vector<double>& values, double filler) {
  std::vector<double> all;
  size_t next = 0;
  for (const int64_t length : golden_policy()["lengths"]) {
    all.push_back(filler);
    for (int64_t t = 0; t < length; ++t) all.push_back(values[next++]);
  }
  return at::tensor(all, at::kDouble);
}

std::vector<double> numbers(const json& value) {
  return value.get<std::vector<double>>();
}

std::vector<double> golden_advantages_of_rows() {
  std::vector<double> of_rows;
  for (size_t s = 0; s < golden_policy()["lengths"].size(); ++s)
    of_rows.insert(of_rows.end(), golden_policy()["lengths"][s].get<size_t>(),
                   golden_policy()["advantages"][s].get<double>());
  return of_rows;
}

struct PolicyResult {
  double loss;
  at::Tensor gradient;  // of all rows
  std::map<std::string, double> metrics;
};

PolicyLossOptions options_of(const json& c) {
  PolicyLossOptions options;
  options.loss_type = c["loss_type"];
  options.importance_sampling_level = c["importance_sampling_level"];
  options.beta = c["beta"];
  if (!c["delta"].is_null()) options.delta = c["delta"].get<double>();
  options.epsilon_high = c["epsilon_high"];
  options.use_bias_correction_kl = c["use_bias_correction_kl"];
  options.max_completion_length = golden_policy()["max_completion_length"];
  return options;
}

/// Rows [begin, end) on a rank of a context-parallel group.
PolicyResult run_policy_case(const json& c, int64_t begin, int64_t end, const parallel::Mesh& mesh) {
  const json& golden = golden_policy();
  const auto part = [&](const json& values, double filler) {
    return on_all_rows(numbers(values), filler).narrow(0, begin, end - begin).clone();
  };
  at::Tensor logprobs = part(golden["logprobs"], 0).requires_grad_();
  const std::vector<double> ones(numbers(golden["logprobs"]).size(), 1.0);
  PolicyRows rows{logprobs, part(golden["old"], 0), {}, part(golden_advantages_of_rows(), 0), part(ones, 0)};
  const PolicyLossOptions options = options_of(c);
  if (options.beta != 0) rows.ref_logprobs = part(golden["ref"], 0);
  const PolicyTotals totals{static_cast<double>(golden["lengths"].size()), static_cast<double>(ones.size())};
  MetricSums sums;
  const auto function = options.loss_type == "rloo" ? rloo_loss : policy_loss;
  const at::Tensor loss = function(rows, options, totals, batch_of_rows(begin, end), mesh.cp(), sums);
  loss.backward();
  PolicyResult result{loss.item<double>(), logprobs.grad(), {}};
  for (const Metric& metric : sums.take(mesh)) result.metrics[metric.name] = metric.value;
  return result;
}

void expect_policy_case(const json& c, double loss, const at::Tensor& gradient,
                        const std::map<std::string, double>& metrics) {
  SCOPED_TRACE(c["loss_type"].get<std::string>() + " " + c["importance_sampling_level"].get<std::string>() +
               " beta " + c["beta"].dump() + " corrected " + c["use_bias_correction_kl"].dump());
  EXPECT_NEAR(loss, c["loss"].get<double>(), 1e-12);
  const at::Tensor expected = on_all_rows(numbers(c["gradient"]), 0);
  EXPECT_LT((gradient - expected).abs().max().item<double>(), 1e-12);
  for (const auto& [name, value] : c["metrics"].items()) {
    ASSERT_TRUE(metrics.contains(name)) << name;
    EXPECT_NEAR(metrics.at(name), value.get<double>(), 1e-7) << name;  // TRL forms RLOO's in fp32
  }
}

TEST(PolicyLosses, EqualTrlsWithGradientsAndMetrics) {
  const auto alone = comm::make_single_communicator();
  const parallel::Mesh mesh(*alone, {});
  const int64_t rows = batch_of_rows(0, 1 << 20).cu_seqlens.back();
  for (const json& c : golden_policy()["cases"]) {
    const PolicyResult result = run_policy_case(c, 0, rows, mesh);
    expect_policy_case(c, result.loss, result.gradient, result.metrics);
  }
}

TEST(PolicyLosses, AreTheSameWhenRowsAreSharedOutOverContextParallelRanks) {
  const int64_t rows = batch_of_rows(0, 1 << 20).cu_seqlens.back();
  for (const json& c : golden_policy()["cases"]) {
    std::vector<PolicyResult> results(2);
    comm::run_ranks(2, [&](comm::Communicator& world) {
      const parallel::Mesh mesh(world, {.cp = 2});
      const int64_t middle = 9;  // inside a sample
      const bool is_first = world.rank() == 0;
      results[static_cast<size_t>(world.rank())] =
          run_policy_case(c, is_first ? 0 : middle, is_first ? middle : rows, mesh);
    });
    expect_policy_case(c, results[0].loss + results[1].loss,
                       at::cat({results[0].gradient, results[1].gradient}), results[0].metrics);
  }
}

TEST(Advantages, EqualTrlsAndLeaveOutWhatCannotBeJudged) {
  const json& golden = golden_policy();
  Rewards rewards;
  for (const json& reward : golden["rewards"])
    rewards.push_back(reward.is_null() ? std::nullopt : std::optional<double>(reward.get<double>()));
  for (const auto& [scale, expected] : golden["group_advantages"].items()) {
    const auto advantages = group_advantages(rewards, golden["group_size"], scale);
    for (size_t i = 0; i < advantages.size(); ++i)
      EXPECT_NEAR(advantages[i], expected[i].get<double>(), 1e-12) << scale << " " << i;
  }
}

TEST(Advantages, OfRlooCompareWithTheOthersOfTheGroup) {
  const Rewards rewards = {1.0, 2.0, 6.0, std::nullopt, 3.0, std::nullopt};
  const auto advantages = leave_one_out_advantages(rewards, 3, false);
  EXPECT_EQ(advantages,
            (std::vector<double>{1 - 4.0, 2 - 3.5, 6 - 1.5, 0, 0, 0}));  // a judged one alone teaches nothing
  EXPECT_DOUBLE_EQ(share_without_spread({1.0, 1.0, 1.0, 2.0}, 2), 0.5);
}

}  // namespace
}  // namespace phalanx::trainer
