#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "comm/run_ranks.h"
#include "trainer/online/advantages.h"
#include "trainer/online/policy_rule.h"

namespace phalanx::trainer {
namespace {

using nlohmann::json;

const json& golden_ppo() {
  static const json golden =
      json::parse(std::ifstream(std::string(PHALANX_SOURCE_DIR) + "/tests/trainer/golden/ppo.json"));
  return golden;
}

/// Of all counted tokens, cut into answers.
TokenValues by_answer_of(const json& flat) {
  TokenValues answers;
  size_t next = 0;
  for (const size_t length : golden_ppo()["lengths"]) {
    answers.emplace_back();
    for (size_t t = 0; t < length; ++t) answers.back().push_back(flat[next++].get<double>());
  }
  return answers;
}

/// An answer to each prompt; the second one ended by its length.
Generation golden_generation() {
  const json& golden = golden_ppo();
  const TokenValues old = by_answer_of(golden["old"]), ref = by_answer_of(golden["ref"]),
                    values = by_answer_of(golden["values"]);
  Generation generation;
  for (size_t i = 0; i < old.size(); ++i) {
    Rollout rollout;
    rollout.ids.assign(old[i].size(), 1);
    rollout.old_logprobs = old[i];
    rollout.ref_logprobs = ref[i];
    rollout.values = values[i];
    rollout.reward = golden["scores"][i].get<double>();
    rollout.finish_reason = i == 1 ? "length" : "stop";
    generation.push_back({static_cast<int64_t>(i), "", {1}, {rollout}});
  }
  return generation;
}

void expect_near(const TokenValues& found, const TokenValues& expected, const char* what) {
  ASSERT_EQ(found.size(), expected.size());
  for (size_t i = 0; i < found.size(); ++i) {
    ASSERT_EQ(found[i].size(), expected[i].size());
    for (size_t t = 0; t < found[i].size(); ++t)
      EXPECT_NEAR(found[i][t], expected[i][t], 1e-12) << what << " " << i << " " << t;
  }
}

void expect_metrics(const std::vector<Metric>& found, const json& expected, double limit) {
  for (const auto& [name, value] : expected.items()) {
    const auto metric =
        std::ranges::find_if(found, [&](const Metric& candidate) { return candidate.name == name; });
    ASSERT_NE(metric, found.end()) << name;
    EXPECT_NEAR(metric->value, value.get<double>(), limit) << name;
  }
}

TEST(Ppo, AdvantagesReturnsAndFiguresEqualTrls) {
  for (const json& c : golden_ppo()["targets"]) {
    SCOPED_TRACE(c["kl_estimator"].get<std::string>() + " whitened " + c["whiten_rewards"].dump() +
                 " gamma " + c["gamma"].dump());
    PolicyOptions options;
    options.critic = {.gamma = c["gamma"],
                      .lam = c["lam"],
                      .whiten_rewards = c["whiten_rewards"],
                      .kl_estimator = c["kl_estimator"]};
    const PolicyTargets targets = ppo_rule().targets(golden_generation(), options, c["kl_coef"]);
    expect_near(targets.advantages, by_answer_of(c["advantages"]), "advantage");
    expect_near(targets.returns, by_answer_of(c["returns"]), "return");
    expect_metrics(targets.metrics, c["metrics"], 1e-12);
    EXPECT_NEAR(targets.kl, c["metrics"]["objective/kl"].get<double>(), 1e-12);
  }
}

TEST(Ppo, AnAnswerWithoutEndPaysAndOneWithoutScoreTeachesNothing) {
  Generation generation = golden_generation();
  const PolicyOptions plain;
  PolicyOptions penalised;
  penalised.critic.missing_eos_penalty = 1.5;
  const PolicyTargets before = ppo_rule().targets(generation, plain, 0.1);
  const PolicyTargets after = ppo_rule().targets(generation, penalised, 0.1);
  EXPECT_NEAR(after.returns[1][0], before.returns[1][0] - 1.5, 1e-12);
  EXPECT_EQ(after.returns[0], before.returns[0]);
  generation[2].rollouts[0].reward.reset();
  const PolicyTargets without = ppo_rule().targets(generation, plain, 0.1);
  EXPECT_EQ(without.advantages[2], std::vector<double>(7, 0.0));
  double sum = 0;
  for (const auto& answer : without.advantages) sum += std::accumulate(answer.begin(), answer.end(), 0.0);
  EXPECT_NEAR(sum, 0, 1e-12);
}

/// The golden answers, each with an uncounted row in front, as a batch.
data::Batch golden_rows() {
  data::Batch batch;
  batch.cu_seqlens = {0};
  for (const int32_t length : golden_ppo()["lengths"]) {
    batch.samples.insert(batch.samples.end(), static_cast<size_t>(length) + 1,
                         static_cast<int64_t>(batch.cu_seqlens.size()) - 1);
    batch.cu_seqlens.push_back(batch.cu_seqlens.back() + length + 1);
  }
  return batch;
}

at::Tensor on_rows(const TokenValues& values, double filler) {
  std::vector<double> all;
  for (const std::vector<double>& answer : values) {
    all.push_back(filler);
    all.insert(all.end(), answer.begin(), answer.end());
  }
  return at::tensor(all, at::kDouble);
}

TEST(Ppo, LossesEqualTrlsWithTheGradientsOfPolicyAndValues) {
  const json& golden = golden_ppo();
  const auto rows = [&](const json& flat, double filler) { return on_rows(by_answer_of(flat), filler); };
  const auto alone = comm::make_single_communicator();
  const parallel::Mesh mesh(*alone, {});
  const json& target = golden["targets"][0];
  const auto count = static_cast<double>(golden["old"].size());
  const at::Tensor mask = rows(json(std::vector<double>(golden["old"].size(), 1)), 0);
  for (const json& c : golden["losses"]) {
    const at::Tensor logprobs = rows(golden["new"], -2).requires_grad_(),
                     values = rows(golden["new_values"], 3).requires_grad_();
    PolicyLossOptions options = ppo_rule().defaults.loss;
    options.epsilon = options.epsilon_high = c["cliprange"];
    const PolicyTotals totals{static_cast<double>(golden["lengths"].size()), count};
    MetricSums sums;
    const at::Tensor policy =
        ppo_loss({logprobs, rows(golden["old"], -1), {}, rows(target["advantages"], 5), mask}, options,
                 totals, golden_rows(), mesh.cp(), sums);
    const at::Tensor value = value_loss({values, rows(golden["values"], 0), rows(target["returns"], 0), mask},
                                        c["cliprange_value"], totals, sums);
    const at::Tensor loss = policy + c["vf_coef"].get<double>() * value;
    loss.backward();
    EXPECT_NEAR(loss.item<double>(), c["loss"].get<double>(), 1e-12);
    EXPECT_LT((logprobs.grad() - rows(c["policy_gradient"], 0)).abs().max().item<double>(), 1e-12);
    EXPECT_LT((values.grad() - rows(c["value_gradient"], 0)).abs().max().item<double>(), 1e-12);
    expect_metrics(sums.take(mesh), c["metrics"], 1e-7);  // TRL forms some in fp32
  }
}

TEST(Ppo, WhiteningKeepsAMeanThatItIsToldToKeep) {
  std::vector<double> values = {1, 2, 6};
  whiten(values, /*shifts_mean=*/false);
  EXPECT_NEAR((values[0] + values[1] + values[2]) / 3, 3, 1e-12);
  EXPECT_NEAR(values[2] - values[0], 5 / std::sqrt(7 + 1e-8), 1e-12);
}

TEST(KlControl, FollowsTheDistanceToItsTarget) {
  KlControl fixed(0.2, {});
  fixed.update(100, 256);
  EXPECT_EQ(fixed.beta(), 0.2);
  // 0.2 (1 + clip(kl / 6 - 1, -0.2, 0.2) 256 / 10000), as in lm-human-preferences.
  for (const auto& [kl, error] : {std::pair{100.0, 0.2}, {6.6, 0.1}, {6.0, 0.0}, {5.4, -0.1}, {0.0, -0.2}}) {
    KlControl adaptive(0.2, {.is_adaptive = true});
    adaptive.update(kl, 256);
    EXPECT_NEAR(adaptive.beta(), 0.2 * (1 + error * 0.0256), 1e-15) << kl;
  }
}

}  // namespace
}  // namespace phalanx::trainer
