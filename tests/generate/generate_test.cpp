#include "generate/generate.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "core/error.h"
#include "generate/evaluate.h"
#include "model/golden_case.h"

namespace phalanx::generate {
namespace {

using model::golden_path;

std::shared_ptr<model::CausalLm> tiny() {
  return model::load_model(golden_path("untied"), at::kFloat);
}

// The likeliest next token from a whole forward.
int32_t next_greedy(model::CausalLm& model, const std::vector<int32_t>& ids) {
  const at::NoGradGuard no_grad;
  const at::Tensor logits =
      logits_of(model, model::make_input(at::tensor(ids, at::kInt), {static_cast<int32_t>(ids.size())}));
  return static_cast<int32_t>(logits[-1].argmax().item<int64_t>());
}

TEST(Generate, GreedyEqualsRepeatedWholeForwardsForEveryPromptOfABatch) {
  const auto model = tiny();
  const std::vector<std::vector<int32_t>> prompts = {{5, 9, 3}, {7}, {4, 4, 8, 20, 31}, {40, 2}, {11, 12}};
  GenerateOptions options{.max_new_tokens = 9};
  options.rollout.max_batch_size = 2;
  GenerateStats stats;
  const auto completions = generate(*model, prompts, options, &stats);
  for (size_t i = 0; i < prompts.size(); ++i) {
    std::vector<int32_t> ids = prompts[i];
    for (size_t t = 0; t < 9; ++t) ids.push_back(next_greedy(*model, ids));
    EXPECT_EQ(completions[i].ids, std::vector<int32_t>(ids.end() - 9, ids.end())) << "prompt " << i;
    EXPECT_EQ(completions[i].finish_reason, "length");
    const std::vector<double> scored = score(*model, {ids})[0];
    for (size_t t = 0; t < 9; ++t)
      EXPECT_NEAR(completions[i].logprobs[t], scored[prompts[i].size() + t], 1e-4);
  }
  EXPECT_EQ(stats.new_tokens, 45);
  EXPECT_EQ(stats.prompt_tokens, 13);
}

TEST(Generate, EndsAtAStopIdWhichIsPartOfTheAnswer) {
  const auto model = tiny();
  const std::vector<int32_t> prompt = {5, 9, 3};
  const auto free_run = generate(*model, {prompt}, {.max_new_tokens = 8})[0];
  GenerateOptions options{.max_new_tokens = 8};
  options.stop_ids = {free_run.ids[3]};
  const auto stopped = generate(*model, {prompt}, options)[0];
  EXPECT_EQ(stopped.finish_reason, "stop");
  EXPECT_EQ(stopped.ids.back(), free_run.ids[3]);
  EXPECT_LE(stopped.ids.size(), 4U);
  int calls = 0;
  const auto cancelled = generate(*model, {prompt}, {.max_new_tokens = 8}, nullptr,
                                  [&](int64_t, int32_t, double) { return ++calls < 2; })[0];
  EXPECT_EQ(cancelled.ids.size(), 2U);
}

TEST(Generate, ASampleDoesNotDependOnItsNeighbours) {
  const auto model = tiny();
  GenerateOptions options{.max_new_tokens = 12};
  options.sampling = {.temperature = 1.0, .top_k = 20, .top_p = 0.95, .min_p = 0.01, .seed = 3};
  const auto all = generate(*model, {{5, 9}, {7, 3, 8}, {1}}, options);
  options.first_prompt = 1;
  EXPECT_EQ(generate(*model, {{7, 3, 8}}, options)[0].ids, all[1].ids);
  options.sampling.seed = 4;
  EXPECT_NE(generate(*model, {{7, 3, 8}}, options)[0].ids, all[1].ids);
}

std::vector<std::vector<int32_t>> ids_of(const std::vector<Completion>& completions) {
  std::vector<std::vector<int32_t>> ids;
  for (const Completion& completion : completions) ids.push_back(completion.ids);
  return ids;
}

// A group of long prompts, some of them longer than a page, and short ones.
std::vector<std::vector<int32_t>> varied_prompts() {
  std::vector<std::vector<int32_t>> prompts;
  for (const int32_t length : {3, 70, 1, 66, 20}) {
    prompts.emplace_back();
    for (int32_t t = 0; t < length; ++t) prompts.back().push_back((7 * t + length) % 48);
  }
  return prompts;
}

TEST(Generate, ContinuousBatchingGivesWhatOneByOneGives) {
  const auto model = tiny();
  const auto prompts = varied_prompts();
  GenerateOptions options{.max_new_tokens = 30, .num_samples = 3, .stop_ids = {9, 30}};
  options.sampling = {.temperature = 1.0, .seed = 5};
  for (const bool invariant : {true, false}) {
    options.rollout = {.max_batch_size = 1, .batch_invariant = invariant};
    const auto alone = generate(*model, prompts, options);
    for (const int64_t batch : {2, 4, 32}) {
      for (const int64_t prefill : {1, 7, 64, 1024}) {
        options.rollout.max_batch_size = batch;
        options.rollout.prefill_tokens = prefill;
        const auto together = generate(*model, prompts, options);
        EXPECT_EQ(ids_of(together), ids_of(alone)) << batch << " " << prefill << " " << invariant;
        if (!invariant) continue;
        for (size_t i = 0; i < alone.size(); ++i) EXPECT_EQ(together[i].logprobs, alone[i].logprobs);
      }
    }
  }
}

TEST(Generate, APromptIsComputedOnceForItsSamples) {
  const auto model = tiny();
  GenerateOptions options{.max_new_tokens = 4, .num_samples = 8};
  GenerateStats stats;
  const auto completions = generate(*model, {varied_prompts()[1]}, options, &stats);
  ASSERT_EQ(completions.size(), 8U);
  for (const Completion& completion : completions) EXPECT_EQ(completion.ids, completions[0].ids);  // greedy
  EXPECT_EQ(stats.prompt_tokens, 70);
  EXPECT_EQ(stats.forwards, 4);  // the prompt, then three tokens of all
}

TEST(Generate, WaitsForRoomInTheCacheAndRefusesWhatNeverFits) {
  const auto model = tiny();
  // 1 MiB holds as many pages as kv_token_bytes says: few enough for the samples to take turns.
  GenerateOptions options{.max_new_tokens = 40, .num_samples = 40};
  options.sampling = {.temperature = 1.0, .seed = 2};
  options.rollout.max_batch_size = 64;
  const auto roomy = generate(*model, varied_prompts(), options);
  options.rollout.kv_cache_mb = 1;
  EXPECT_EQ(ids_of(generate(*model, varied_prompts(), options)), ids_of(roomy));
  struct Heavy : TokenModel {  // with keys and values of 64 KiB a token
    explicit Heavy(const model::TransformerConfig& c) : config_(c) {}
    const model::TransformerConfig& config() const override { return config_; }
    at::Device device() const override { return at::kCPU; }
    int64_t kv_token_bytes() const override { return 1 << 16; }
    at::Tensor next_logits(const model::ModelInput&, const std::vector<int64_t>&, model::KvCache&,
                           double) override {
      return {};
    }
    const model::TransformerConfig& config_;
  } heavy(model->config());
  const std::vector<int32_t> prompt(50, 3);
  options.rollout.kv_cache_mb = 7;  // one page of 4 MiB
  try {
    generate(heavy, {{&prompt}}, options);
    FAIL();
  } catch (const core::Error& error) {
    EXPECT_NE(std::string(error.what()).find("rollout.kv_cache_mb is 7 but prompt 0, of 50 tokens, needs"),
              std::string::npos)
        << error.what();
  }
}

TEST(Generate, LogprobsAreThoseOfTheAskedTemperature) {
  const auto model = tiny();
  GenerateOptions options{.max_new_tokens = 5};
  options.sampling = {.temperature = 0.5, .top_k = 3, .repetition_penalty = 1.3, .seed = 1};
  options.logprob_temperature = 0.5;
  const std::vector<int32_t> prompt = {5, 9, 3};
  const Completion completion = generate(*model, {prompt}, options)[0];
  std::vector<int32_t> ids = prompt;
  const at::NoGradGuard no_grad;
  for (size_t t = 0; t < completion.ids.size(); ++t) {
    const at::Tensor logits = logits_of(
        *model, model::make_input(at::tensor(ids, at::kInt), {static_cast<int32_t>(ids.size())}))[-1];
    EXPECT_NEAR(completion.logprobs[t], (logits / 0.5).log_softmax(0)[completion.ids[t]].item<double>(),
                1e-4);
    ids.push_back(completion.ids[t]);
  }
}

TEST(Generate, RefusesPromptsThatCannotWork) {
  const auto model = tiny();
  EXPECT_THROW(generate(*model, {{}}, {}), core::Error);
  EXPECT_THROW(generate(*model, {{48}}, {}), core::Error);
  EXPECT_THROW(generate(*model, {std::vector<int32_t>(128, 3)}, {}), core::Error);
  EXPECT_THROW(generate(*model, {{3}}, {.max_new_tokens = 4, .sampling = {.temperature = -1}}), core::Error);
  EXPECT_THROW(generate(*model, {{3}}, {.num_samples = 0}), core::Error);
  EXPECT_THROW(generate(*model, {{3}}, {.stop_strings = {""}}), core::Error);
  EXPECT_EQ(generate(*model, {std::vector<int32_t>(120, 3)}, {.max_new_tokens = 50})[0].ids.size(),
            8U);  // context of 128
}

TEST(Score, GivesTheLogarithmOfTheSoftmaxPackedOrNot) {
  const auto model = tiny();
  const std::vector<int32_t> first = {5, 9, 3, 22}, second = {30, 31};
  const auto together = score(*model, {first, second});
  const auto alone = score(*model, {second}, 2);
  EXPECT_TRUE(std::isnan(together[0][0]));
  EXPECT_NEAR(together[1][1], alone[0][1], 1e-6);
  const at::NoGradGuard no_grad;
  const at::Tensor logprobs =
      logits_of(*model, model::make_input(at::tensor(first, at::kInt), {4})).log_softmax(1);
  EXPECT_NEAR(together[0][2], logprobs[1][3].item<double>(), 1e-5);
}

TEST(Sampling, DrawsEveryTokenAsOftenAsItsProbabilitySays) {
  const std::vector<float> logits = {0.0F, 1.0F, -1.0F, 2.0F};
  const SamplingOptions options{.temperature = 2.0, .seed = 1};
  std::map<int32_t, int> counts;
  for (uint64_t i = 0; i < 20000; ++i) {
    std::vector<float> copy = logits;
    ++counts[sample_token(copy, {}, options, {.sample = i})];
  }
  double total = 0;
  for (const float x : logits) total += std::exp(x / 2.0);
  for (int32_t i = 0; i < 4; ++i)
    EXPECT_NEAR(counts[i] / 20000.0, std::exp(logits[i] / 2.0) / total, 0.015) << i;
}

TEST(Sampling, FiltersKeepTheLikeliestTokens) {
  const std::vector<float> logits = {1.0F, 3.0F, 2.0F, 0.0F};  // p = .087 .644 .237 .032
  const auto seen = [&](SamplingOptions options) {
    options.temperature = 1.0;
    std::map<int32_t, int> counts;
    for (uint64_t i = 0; i < 2000; ++i) {
      std::vector<float> copy = logits;
      ++counts[sample_token(copy, {}, options, {.prompt = 7, .sample = i})];
    }
    std::vector<int32_t> ids;
    for (const auto& [id, count] : counts) ids.push_back(id);
    return ids;
  };
  EXPECT_EQ(seen({.top_k = 2}), (std::vector<int32_t>{1, 2}));
  EXPECT_EQ(seen({.top_p = 0.6}), (std::vector<int32_t>{1}));
  EXPECT_EQ(seen({.top_p = 0.7}), (std::vector<int32_t>{1, 2}));
  EXPECT_EQ(seen({.min_p = 0.1}), (std::vector<int32_t>{0, 1, 2}));
  EXPECT_EQ(seen({}), (std::vector<int32_t>{0, 1, 2, 3}));
}

TEST(Sampling, RepetitionPenaltyLowersWhatWasSeen) {
  std::vector<float> logits = {2.0F, 1.9F, -1.0F};
  const std::vector<int32_t> history = {0, 2, 0};
  EXPECT_EQ(sample_token(logits, history, {.repetition_penalty = 1.5}, {}), 1);
  EXPECT_FLOAT_EQ(logits[0], 2.0F / 1.5F);
  EXPECT_FLOAT_EQ(logits[2], -1.5F);
}

}  // namespace
}  // namespace phalanx::generate
