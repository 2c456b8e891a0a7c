#include "lora/combine.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "lora/adapted_product.h"
#include "model/golden_case.h"

namespace phalanx::lora {
namespace {

using model::max_difference;

const std::string kCombined = std::string(PHALANX_SOURCE_DIR) + "/tests/lora/golden/";
const std::string kCombinedModule = "model.layers.1.self_attn.q_proj";

model::TransformerConfig combined_base() {
  return model::ModelFiles::open(model::golden_path("untied")).config();
}

std::vector<WeightedAdapter> two_adapters() {
  return {{open_adapter(kCombined + "combine_a"), 0.7}, {open_adapter(kCombined + "combine_b"), -0.4}};
}

class Combine : public testing::Test {
 protected:
  /// Factors of the module that both adapters have, after a load of the result.
  std::pair<at::Tensor, at::Tensor> made(const CombineOptions& options) {
    const auto shell = model::build(combined_base());
    const Adapter adapter =
        load_adapter(*shell, combine(two_adapters(), combined_base(), options), at::kFloat);
    EXPECT_EQ(adapter.modules().size(), 4U);  // v_proj of one of them, too
    for (const AdaptedLinear& m : adapter.modules()) {
      EXPECT_EQ(m.scale, 1);
      if (m.module == kCombinedModule) return {m.a.detach(), m.b.detach()};
    }
    return {};
  }
  at::Tensor golden(const std::string& name) { return model::read_tensor(golden_, name); }

  formats::SafetensorsFile golden_{kCombined + "combine.safetensors"};
};

TEST_F(Combine, FactorsEqualPeft) {
  for (const char* name : {"linear", "ties", "magnitude_prune", "ties_frequency"}) {
    CombineOptions options{.method = name};
    if (options.method != "linear") options.density = 0.5;
    if (options.method == "ties_frequency") {
      options.method = "ties";
      options.majority = MajoritySign::kFrequency;
    }
    const auto [a, b] = made(options);
    EXPECT_LT(max_difference(a, golden(std::string(name) + ".a")), 1e-6) << name;
    EXPECT_LT(max_difference(b, golden(std::string(name) + ".b")), 1e-6) << name;
  }
}

TEST_F(Combine, ProductsEqualPeft) {
  for (const char* name : {"cat", "svd", "ties_svd", "magnitude_prune_svd"}) {
    CombineOptions options{.method = name};
    if (options.method.find('_') != std::string::npos) options.density = 0.5;
    const auto [a, b] = made(options);
    EXPECT_LT(max_difference(b.mm(a), golden(name)), 1e-6) << name;
    EXPECT_EQ(a.size(0), options.method == "cat" ? 8 : 4) << name;
  }
}

TEST_F(Combine, AnSvdOfFullRankIsTheExactSum) {
  const auto [a, b] = made({.method = "svd", .svd_rank = 8});
  EXPECT_LT(max_difference(b.mm(a), golden("cat")), 1e-6);
}

TEST_F(Combine, DareKeepsTheSameElementsForTheSameSeedOnly) {
  const CombineOptions options{.method = "dare_linear", .density = 0.5, .seed = 3};
  CombineOptions other = options;
  other.seed = 4;
  const auto [a, b] = made(options);
  const auto [again, unused] = made(options);
  EXPECT_TRUE(at::equal(a, again));
  EXPECT_FALSE(at::equal(a, made(other).first));
  // With nothing pruned the methods are those without dare.
  const auto [whole, whole_b] = made({.method = "dare_linear", .density = 1.0});
  EXPECT_LT(max_difference(whole, golden("linear.a")), 1e-6);
}

TEST(RandomKept, KeepsAShareAndTheMean) {
  const at::Tensor ones = at::ones({400, 500});
  for (const double density : {0.2, 0.7}) {
    const at::Tensor kept = random_kept(ones, density, 5, "a name");
    const double share = (kept > 0).sum().item<double>() / 2e5;
    EXPECT_NEAR(share, density, 0.005) << density;  // five standard deviations
    EXPECT_NEAR(kept.mean().item<double>(), 1.0, 0.015);
    EXPECT_NEAR(kept.max().item<double>(), 1 / density, 1e-6);
  }
  EXPECT_FALSE(at::equal(random_kept(ones, 0.5, 5, "a"), random_kept(ones, 0.5, 5, "b")));
}

TEST(DisjointMean, TakesTheElectedSignOnly) {
  const at::Tensor a = at::tensor({2.0F, -1.0F, 0.0F, 3.0F}), b = at::tensor({-1.0F, -3.0F, 0.0F, 1.0F});
  const std::vector<double> weights = {0.5, 2.0};
  // Elected: +, -, + (a tie of zeros), +; the mean of the weighted values that agree.
  EXPECT_LT(max_difference(disjoint_mean({a, b}, weights, MajoritySign::kTotal),
                           at::tensor({1.0F, -3.25F, 0.0F, 1.75F})),
            1e-7);
}

std::string refusal_of_combination(const CombineOptions& options, std::vector<WeightedAdapter> adapters) {
  try {
    combine(adapters, combined_base(), options);
  } catch (const core::Error& error) {
    return error.what();
  }
  return "";
}

TEST(CombineRefusals, SayWhatIsAllowed) {
  const auto says = [](const CombineOptions& options, const char* text) {
    const std::string message = refusal_of_combination(options, two_adapters());
    EXPECT_NE(message.find(text), std::string::npos) << message;
  };
  says({.method = "tis"}, "--method is tis; known are cat, svd, linear, ties");
  says({.method = "ties"}, "--method ties needs --density");
  says({.method = "linear", .density = 0.5}, "--density is for methods that prune");
  says({.method = "ties", .density = 1.5}, "--density is 1.5");
  says({.method = "ties", .density = 0.0}, "--density is 0");
  says({.method = "linear", .svd_rank = 4}, "--svd-rank is for methods that end in an SVD");
  says({.method = "svd", .svd_rank = 0}, "--svd-rank is 0");
  says({.method = "svd", .seed = 1}, "--seed is for dare");
  says({.method = "svd", .majority = MajoritySign::kFrequency}, "--majority-sign is for ties");
  std::vector<WeightedAdapter> adapters = two_adapters();
  adapters.push_back({open_adapter(kCombined + "dora"), 1});
  EXPECT_NE(refusal_of_combination({.method = "svd"}, adapters).find("DoRA magnitudes"), std::string::npos);
  adapters.back() = {open_adapter(kCombined + "patterns"), 1};
  EXPECT_NE(refusal_of_combination({.method = "svd"}, adapters).find("modules_to_save"), std::string::npos);
}

}  // namespace
}  // namespace phalanx::lora
