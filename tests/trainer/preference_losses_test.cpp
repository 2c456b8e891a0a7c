#include "trainer/preference_losses.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "model/golden_case.h"

namespace phalanx::trainer {
namespace {

/// tests/trainer/golden/make_preference_golden.py: what TRL computes, and its gradients.
class PreferenceLosses : public testing::Test {
 protected:
  at::Tensor read(const std::string& name) const { return model::read_tensor(file_, name); }

  /// Chosen ones are the first half, as TRL stacks them.
  static PairLogprobs halves(const at::Tensor& both) {
    const at::Tensor parts = both.view({2, -1});
    return {parts[0], parts[1]};
  }

  /// @param loss  of a leaf [2B], not reduced.
  void expect_trl(const std::string& name, const at::Tensor& values,
                  const std::function<at::Tensor(const at::Tensor& leaf)>& loss) const {
    const at::Tensor leaf = values.clone().requires_grad_();
    const at::Tensor mean = loss(leaf).mean();
    mean.backward();
    const auto expect = [&](const at::Tensor& ours, const at::Tensor& theirs, const char* what) {
      const double apart = (ours - theirs).abs().max().item<double>();
      EXPECT_LE(apart, 1e-6 * std::max(1e-3, theirs.abs().max().item<double>())) << name << ": " << what;
    };
    expect(mean.detach().view({1}), read(name + "/loss"), "loss");
    expect(leaf.grad(), read(name + "/grad"), "gradient");
  }

  void expect_pair_loss(const std::string& name, const std::string& type,
                        const PairLossOptions& options) const {
    expect_trl(name, read("policy"), [&](const at::Tensor& leaf) {
      return pair_loss(type, {halves(leaf), halves(read("reference")), halves(read("num_tokens"))}, options);
    });
  }

  const formats::SafetensorsFile file_{
      std::string(PHALANX_SOURCE_DIR "/tests/trainer/golden/preference_losses.safetensors")};
};

TEST_F(PreferenceLosses, OfEveryTypeAreTrls) {
  for (const std::string& type : pair_loss_names()) {
    PairLossOptions options;
    if (type == "exo_pair") options.label_smoothing = 1e-3;
    if (type == "robust" || type.starts_with("aot")) options.label_smoothing = 0.1;
    expect_pair_loss("dpo/" + type, type, options);
  }
}

TEST_F(PreferenceLosses, WithOtherDivergencesAreTrls) {
  for (const char* divergence : {"forward_kl", "js_divergence"}) {
    for (const std::string type : {"sigmoid", "ipo"})
      expect_pair_loss("dpo/" + type + "/" + divergence, type, {.f_divergence_type = divergence});
  }
  expect_pair_loss("dpo/sigmoid/alpha_divergence", "sigmoid", {.f_divergence_type = "alpha_divergence"});
}

TEST_F(PreferenceLosses, WithSmoothedLabelsMixBothWaysRound) {
  const PairLossInput input{halves(read("policy")), halves(read("reference")), halves(read("num_tokens"))};
  const PairLossInput turned{{input.policy.rejected, input.policy.chosen},
                             {input.reference.rejected, input.reference.chosen},
                             input.num_tokens};
  const at::Tensor mixed = 0.8 * pair_loss("sigmoid", input, {}) + 0.2 * pair_loss("sigmoid", turned, {});
  EXPECT_TRUE(at::allclose(pair_loss("sigmoid", input, {.label_smoothing = 0.2}), mixed, 1e-12, 1e-12));
}

TEST_F(PreferenceLosses, WithoutReferenceAreTrls) {
  struct Case {
    const char *name, *type;
    double smoothing, alpha;
  };
  for (const Case& c :
       {Case{"cpo/sigmoid/0.0/0.0", "sigmoid", 0, 0}, Case{"cpo/sigmoid/0.1/0.0", "sigmoid", 0.1, 0},
        Case{"cpo/hinge/0.0/0.0", "hinge", 0, 0}, Case{"cpo/ipo/0.0/0.0", "ipo", 0, 0},
        Case{"cpo/simpo/0.0/0.0", "simpo", 0, 0}, Case{"cpo/simpo/0.1/0.25", "simpo", 0.1, 0.25}}) {
    const std::string type = c.type;
    const bool is_mean = type == "ipo" || type == "simpo";
    const at::Tensor values = is_mean ? read("policy") / read("num_tokens") : read("policy");
    expect_trl(c.name, values, [&](const at::Tensor& leaf) {
      return cpo_loss(halves(leaf), {.loss_type = type, .label_smoothing = c.smoothing, .alpha = c.alpha});
    });
  }
  expect_trl("orpo", read("policy") / read("num_tokens"),
             [&](const at::Tensor& leaf) { return -0.1 * at::log_sigmoid(log_odds_ratio(halves(leaf))); });
}

TEST_F(PreferenceLosses, OfSingleAnswersAreTrls) {
  const at::Tensor desirable = read("desirable");
  const at::Tensor weight = 1.5 * desirable + 0.75 * (1 - desirable);
  for (const std::string type : {"kto", "apo_zero_unpaired"}) {
    expect_trl("kto/" + type, read("policy"), [&](const at::Tensor& leaf) {
      return weight * kto_loss(type, leaf - read("reference"), desirable, read("kl").item<double>(), 0.1);
    });
  }
}

TEST_F(PreferenceLosses, OfRewardsIsTrls) {
  expect_trl("reward", read("rewards"), [&](const at::Tensor& leaf) {
    const PairLogprobs rewards = halves(leaf);
    return reward_loss(rewards.chosen, rewards.rejected, read("margin"), 0.01);
  });
}

TEST_F(PreferenceLosses, BcoMeasuresRewardsAgainstDelta) {
  const at::Tensor r = at::tensor({1.0, -2.0}, at::kDouble), wanted = at::tensor({1.0, 0.0}, at::kDouble);
  const at::Tensor loss = bco_loss(r, wanted, 0.25, 0.5);
  EXPECT_NEAR(loss[0].item<double>(), std::log1p(std::exp(-(0.5 - 0.25))), 1e-15);
  EXPECT_NEAR(loss[1].item<double>(), std::log1p(std::exp(-1.0 - 0.25)), 1e-15);
}

/// What a micro-batch has of a sorted loss: its own elements, and numbers in place of their partners.
TEST_F(PreferenceLosses, SortedOnesAddUpFromTheirParts) {
  const at::Tensor reference = read("reference"), counts = read("num_tokens");
  for (const std::string type : {"aot", "aot_unpaired"}) {
    expect_trl("dpo/" + type, read("policy"), [&](const at::Tensor& leaf) {
      const PairLossInput whole{halves(leaf), halves(reference), halves(counts)};
      const PairLogprobs sides = sorted_sides(type, whole);
      const at::Tensor of_a = sorted_partner(sides.chosen.detach(), sides.rejected.detach());
      const at::Tensor of_b = sorted_partner(sides.rejected.detach(), sides.chosen.detach());
      std::vector<at::Tensor> parts;
      for (int64_t first = 0; first < of_a.size(0); first += 2) {
        const auto part = [&](const PairLogprobs& of) {
          return PairLogprobs{of.chosen.narrow(0, first, 2), of.rejected.narrow(0, first, 2)};
        };
        parts.push_back(pair_loss(
            type, {part(whole.policy), part(whole.reference), part(whole.num_tokens), part({of_a, of_b})},
            {.label_smoothing = 0.1}));
      }
      return at::cat(parts);
    });
  }
}

}  // namespace
}  // namespace phalanx::trainer
