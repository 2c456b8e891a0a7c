#include <c10/core/GradMode.h>

#include <gtest/gtest.h>

#include "model/golden_case.h"
#include "model/kv_cache.h"
#include "model/parameter.h"
#include "ops/cross_entropy.h"

namespace phalanx::model {
namespace {

class Golden : public testing::TestWithParam<const char*> {
 protected:
  std::shared_ptr<CausalLm> load(at::ScalarType dtype) const {
    return load_model(golden_path(GetParam()), dtype);
  }
  formats::SafetensorsFile golden_{golden_path(std::string(GetParam()) + ".safetensors")};
  ModelInput input_ = make_input(read_tensor(golden_, "ids"), kGoldenLengths);
};
INSTANTIATE_TEST_SUITE_P(Llama, Golden, testing::Values("untied", "tied_llama3"),
                         [](const auto& info) { return std::string(info.param); });

TEST_P(Golden, LogitsOfPackedSamplesEqualTransformersOnEachSample) {
  const at::NoGradGuard no_grad;
  const at::Tensor expected = read_tensor(golden_, "logits");
  EXPECT_LT(max_difference(logits_of(*load(at::kDouble), input_), expected), 1e-10);
  EXPECT_LT(max_difference(logits_of(*load(at::kFloat), input_), expected), 2e-5);
  EXPECT_LT(max_difference(logits_of(*load(at::kBFloat16), input_), expected), 0.3);
}

TEST_P(Golden, LossAndEveryGradientEqualTransformers) {
  const auto model = load(at::kDouble);
  const at::Tensor loss =
      ops::linear_cross_entropy(model->hidden(input_), model->output_weight(), shifted_labels(input_), 1.0);
  EXPECT_NEAR(loss.item<double>(), read_tensor(golden_, "loss").item<double>(), 1e-10);
  loss.backward();
  for (const auto& [name, parameter] : all_parameters(*model)) {
    ASSERT_TRUE(parameter.grad().defined()) << name;
    EXPECT_LT(max_difference(parameter.grad(), read_tensor(golden_, "grad." + name)), 1e-10) << name;
  }
}

TEST_P(Golden, OneTokenAtATimeThroughTheCacheEqualsTheWholeForward) {
  const at::NoGradGuard no_grad;
  for (const auto& [dtype, bound] :
       {std::pair(at::kDouble, 1e-12), {at::kFloat, 2e-5}, {at::kBFloat16, 0.15}}) {
    const auto model = load(dtype);
    const at::Tensor whole = model->hidden(input_);
    KvCache cache(2, {.page_tokens = 16});
    // Entry 0 gets its prompt of 3 tokens, entry 1 its prompt of 2, then both one token at a time, entry 0
    // longer.
    std::vector<int64_t> done = {0, 0};
    const auto feed = [&](const std::vector<int64_t>& counts) {
      std::vector<at::Tensor> rows;
      ModelInput part{.input_ids = {}, .position_ids = {}, .cu_seqlens = {0}};
      for (int64_t e = 0; e < 2; ++e) {
        rows.push_back(at::arange(counts[e], at::kLong) + input_.cu_seqlens[e] + done[e]);
        part.cu_seqlens.push_back(part.cu_seqlens.back() + static_cast<int32_t>(counts[e]));
        done[e] += counts[e];
      }
      const at::Tensor index = at::cat(rows);
      part.input_ids = input_.input_ids.index_select(0, index);
      part.position_ids = input_.position_ids.index_select(0, index);
      EXPECT_LT(max_difference(model->hidden_cached(part, cache), whole.index_select(0, index)), bound)
          << dtype;
    };
    feed({3, 0});
    feed({0, 2});
    feed({1, 1});
    feed({2, 1});  // several tokens onto a cache that is not empty
    feed({1, 1});
    EXPECT_EQ(cache.length(0), 7);
    EXPECT_EQ(cache.length(1), 5);
  }
}

TEST(Llama, NamesAndCountsFollowHuggingFace) {
  const ModelFiles files = ModelFiles::open(golden_path("untied"));
  const auto model = build(files.config());
  int64_t count = 0;
  for (const auto& [name, parameter] : all_parameters(*model)) {
    EXPECT_NE(files.weights().find(name), nullptr) << name;
    EXPECT_FALSE(is_allocated(parameter)) << name;
    count += parameter.numel();
  }
  EXPECT_EQ(count, files.config().num_parameters());
  EXPECT_EQ(ModelFiles::open(golden_path("tied_llama3")).config().num_parameters(), [&] {
    int64_t n = 0;
    for (const auto& [name, p] :
         all_parameters(*build(ModelFiles::open(golden_path("tied_llama3")).config())))
      n += p.numel();
    return n;
  }());
}

}  // namespace
}  // namespace phalanx::model
