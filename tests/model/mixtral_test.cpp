#include <c10/core/GradMode.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "model/golden_case.h"
#include "model/kv_cache.h"
#include "model/model_options.h"
#include "model/moe.h"
#include "model/parameter.h"
#include "model/save.h"
#include "ops/cross_entropy.h"

namespace phalanx::model {
namespace {

namespace fs = std::filesystem;

/// max |a - b| over the largest |b|
double relative_difference(const at::Tensor& a, const at::Tensor& b) {
  return max_difference(a, b) / b.abs().max().item<double>();
}

/// What transformers trains on: mean cross-entropy and the auxiliary loss.
at::Tensor training_loss(CausalLm& model, const ModelInput& input) {
  const at::Tensor labels = shifted_labels(input);
  const double scale = 1.0 / labels.ne(-100).sum().item<double>();
  const LayersOutput out = model.forward(input);
  const at::Tensor loss = ops::linear_cross_entropy(out.hidden, model.output_weight(), labels, scale) * scale;
  const at::Tensor auxiliary = model.auxiliary_loss(out.router_sums);
  return auxiliary.defined() ? loss + auxiliary.to(loss.scalar_type()) : loss;
}

at::Tensor auxiliary_loss(CausalLm& model, const ModelInput& input) {
  return model.auxiliary_loss(model.forward(input).router_sums);
}

/// The golden model has four experts, two for each token. Of its two recorded batches the short one leaves an
/// expert of each layer without a token.
class Mixtral : public testing::Test {
 protected:
  std::shared_ptr<CausalLm> load(at::ScalarType dtype = at::kDouble, const char* name = "mixtral") const {
    return load_model(golden_path(name), dtype);
  }
  at::Tensor golden(const std::string& name) const { return read_tensor(file_, name); }

  struct Recorded {
    std::string prefix;
    ModelInput input;
  };
  std::vector<Recorded> recorded() const {
    return {{"", make_input(golden("ids"), kGoldenLengths)},
            {"short.", make_input(golden("short.ids"), {2})}};
  }
  const formats::SafetensorsFile file_{golden_path("mixtral.safetensors")};
};

TEST_F(Mixtral, LogitsEqualTransformersInBothSpellingsOfItsWeights) {
  const at::NoGradGuard no_grad;
  for (const char* name : {"mixtral", "mixtral_v5"}) {
    for (const auto& [prefix, input] : recorded()) {
      SCOPED_TRACE(std::string(name) + " " + prefix);
      const at::Tensor expected = golden(prefix + "logits");
      EXPECT_LT(relative_difference(logits_of(*load(at::kDouble, name), input), expected), 1e-12);
      EXPECT_LT(relative_difference(logits_of(*load(at::kFloat, name), input), expected), 1e-5);
    }
  }
}

TEST_F(Mixtral, LossWithItsAuxiliaryPartAndEveryGradientEqualTransformers) {
  for (const auto& [dtype, bound] : {std::pair(at::kDouble, 1e-12), {at::kFloat, 4e-5}}) {
    for (const auto& [prefix, input] : recorded()) {
      SCOPED_TRACE(prefix + toString(dtype));
      const auto model = load(dtype);
      const at::Tensor loss = training_loss(*model, input);
      EXPECT_LT(relative_difference(loss, golden(prefix + "loss")), bound);
      loss.backward();
      for (const auto& [name, parameter] : all_parameters(*model)) {
        ASSERT_TRUE(parameter.grad().defined()) << name;
        const at::Tensor expected = golden(prefix + "grad." + name);
        if (expected.abs().max().item<double>() == 0) {
          EXPECT_EQ(parameter.grad().abs().max().item<double>(), 0) << name;
        } else {
          EXPECT_LT(relative_difference(parameter.grad(), expected), bound) << name;
        }
      }
    }
  }
}

TEST_F(Mixtral, AnExpertWithoutTokensGetsAZeroGradient) {
  const auto model = load();
  training_loss(*model, recorded()[1].input).backward();
  int idle = 0;
  for (const auto& [name, parameter] : all_parameters(*model)) {
    if (name.find(".experts.") == std::string::npos) continue;
    ASSERT_TRUE(parameter.grad().defined()) << name;
    idle += parameter.grad().abs().max().item<double>() == 0;
  }
  EXPECT_GE(idle, 6);  // three matrices in each of two layers, and where only the last token went
}

TEST_F(Mixtral, AuxiliaryLossEqualsTransformers) {
  const auto model = load();
  for (const auto& [prefix, input] : recorded()) {
    const double coef = model->config().router_aux_loss_coef;
    EXPECT_LT(relative_difference(auxiliary_loss(*model, input) / coef, golden(prefix + "aux_loss")), 1e-12);
  }
}

TEST_F(Mixtral, GradientsAreThoseOfCentralDifferences) {
  const auto model = load();
  const ModelInput input = recorded()[0].input;
  training_loss(*model, input).backward();
  const at::NoGradGuard no_grad;
  constexpr double kStep = 1e-5;
  for (const auto& [name, parameter] : all_parameters(*model)) {
    if (name.find("layers.0") == std::string::npos) continue;
    const at::Tensor flat = parameter.view(-1), gradient = parameter.grad().view(-1);
    for (int64_t i = 0; i < flat.numel(); i += std::max<int64_t>(1, flat.numel() / 4)) {
      const double old = flat[i].item<double>();
      flat[i] = old + kStep;
      const double up = training_loss(*model, input).item<double>();
      flat[i] = old - kStep;
      const double down = training_loss(*model, input).item<double>();
      flat[i] = old;
      EXPECT_NEAR(gradient[i].item<double>(), (up - down) / (2 * kStep), 1e-9) << name << " " << i;
    }
  }
}

TEST_F(Mixtral, OneTokenAtATimeThroughTheCacheEqualsTheWholeForward) {
  const at::NoGradGuard no_grad;
  for (const auto& [dtype, bound] : {std::pair(at::kDouble, 1e-12), {at::kFloat, 4e-5}}) {
    const auto model = load(dtype);
    const at::Tensor ids = golden("ids").slice(0, 0, 7);
    const at::Tensor whole = model->hidden(make_input(ids, {7}));
    KvCache cache(1, {.page_tokens = 16});
    for (int64_t i = 0; i < 7; ++i) {
      const ModelInput one{ids.slice(0, i, i + 1).to(at::kLong), at::arange(i, i + 1, at::kLong), {0, 1}};
      EXPECT_LT(max_difference(model->hidden_cached(one, cache), whole.slice(0, i, i + 1)), bound) << i;
    }
  }
}

TEST_F(Mixtral, OutputsOfATokenDoNotDependOnTheOthersInItsBatch) {
  const at::NoGradGuard no_grad;
  const auto model = load();
  // As many copies of one sample as would overflow any expert of fixed capacity: nothing is dropped.
  const at::Tensor ids = golden("ids").slice(0, 0, 7);
  const at::Tensor alone = model->hidden(make_input(ids, {7}));
  const at::Tensor many = model->hidden(make_input(ids.repeat({20}), std::vector<int32_t>(20, 7)));
  EXPECT_LT(max_difference(many, alone.repeat({20, 1})), 1e-13);
}

TEST_F(Mixtral, NamesAndCountsFollowHuggingFace) {
  const ModelFiles files = ModelFiles::open(golden_path("mixtral"));
  EXPECT_TRUE(files.notices().empty());
  int64_t count = 0;
  for (const auto& [name, parameter] : all_parameters(*build(files.config()))) {
    EXPECT_NE(files.weights().find(name), nullptr) << name;
    count += parameter.numel();
  }
  EXPECT_EQ(count, files.config().num_parameters());
  EXPECT_EQ(files.weights().tensors().size(), all_parameters(*build(files.config())).size());
}

// --- The seams for parallel schemes ---

std::vector<std::shared_ptr<Experts>> experts_of(const CausalLm& model) {
  std::vector<std::shared_ptr<Experts>> found;
  for (const auto& [name, module] : model.named_modules()) {
    if (auto experts = std::dynamic_pointer_cast<Experts>(module)) found.push_back(std::move(experts));
  }
  return found;
}

std::shared_ptr<RouterLoss> router_loss_of(const CausalLm& model) {
  for (const auto& [name, module] : model.named_modules()) {
    if (auto loss = std::dynamic_pointer_cast<RouterLoss>(module)) return loss;
  }
  return nullptr;
}

TEST_F(Mixtral, ExpertsSpreadOverTwoHoldersByADispatchGiveTheSameLossAndGradients) {
  const auto whole = load(), left = load(), right = load();
  const auto all = experts_of(*whole), first = experts_of(*left), second = experts_of(*right);
  ASSERT_EQ(all.size(), 2U);
  for (size_t layer = 0; layer < all.size(); ++layer) {
    first[layer]->keep(0, 1);
    second[layer]->keep(1, 3);
    EXPECT_EQ(second[layer]->num_kept(), 3);
    EXPECT_EQ(second[layer]->first_kept(), 1);
    EXPECT_EQ(second[layer]->num_experts(), 4);
    EXPECT_EQ(second[layer]->named_parameters().front().first, "1.w1.weight");
    all[layer]->set_dispatch([&first = *first[layer], &second = *second[layer]](
                                 const Experts&, const at::Tensor& rows, const std::vector<int64_t>& counts) {
      const std::vector<at::Tensor> parts = rows.split_with_sizes({counts[0], rows.size(0) - counts[0]});
      return at::cat(
          {first.base(parts[0], {counts[0]}), second.base(parts[1], {counts.begin() + 1, counts.end()})});
    });
  }
  const at::Tensor loss = training_loss(*whole, recorded()[0].input);
  EXPECT_LT(relative_difference(loss, golden("loss")), 1e-12);
  loss.backward();
  for (const auto& part : {left, right}) {
    for (const auto& [name, parameter] : all_parameters(*part)) {
      if (name.find(".experts.") == std::string::npos) continue;
      EXPECT_LT(relative_difference(parameter.grad(), golden("grad." + name)), 1e-12) << name;
    }
  }
}

TEST_F(Mixtral, AuxiliaryLossesOfPartsOfABatchAddUpToTheWholeOneOnceTheTotalsAreKnown) {
  const auto model = load();
  const at::Tensor ids = golden("ids");
  const ModelInput parts[] = {make_input(ids.slice(0, 0, 7), {7}), make_input(ids.slice(0, 7, 12), {5})};
  at::Tensor totals;
  for (const ModelInput& part : parts) {
    const at::Tensor sums = model->forward(part).router_sums.detach();
    totals = totals.defined() ? totals + sums : sums;
  }
  router_loss_of(*model)->set_totals([&](const at::Tensor&) { return totals; });
  at::Tensor sum = at::zeros({}, at::kDouble);
  for (const ModelInput& part : parts) {
    const at::Tensor loss = auxiliary_loss(*model, part);
    loss.backward();
    sum += loss.detach();
  }
  EXPECT_LT(relative_difference(sum / model->config().router_aux_loss_coef, golden("aux_loss")), 1e-12);
  const auto whole = load();
  auxiliary_loss(*whole, make_input(ids, kGoldenLengths)).backward();
  for (const auto& [name, parameter] : all_parameters(*whole)) {
    if (!parameter.grad().defined()) continue;
    EXPECT_LT(relative_difference(model->parameter(name).grad(), parameter.grad()), 1e-12) << name;
  }
}

// --- Config and files ---

class MixtralFiles : public testing::Test {
 protected:
  MixtralFiles() { fs::create_directories(folder_); }
  ~MixtralFiles() override { fs::remove_all(folder_); }

  /// The golden folder with one key of its config.json changed.
  fs::path with(const char* key, const nlohmann::json& value) const {
    fs::remove_all(folder_);
    fs::copy(golden_path("mixtral"), folder_, fs::copy_options::recursive);
    nlohmann::json config = nlohmann::json::parse(std::ifstream(folder_ / "config.json"));
    config[key] = value;
    std::ofstream(folder_ / "config.json") << config;
    return folder_;
  }
  std::string refusal(const char* key, const nlohmann::json& value) const {
    return message_of([&] { ModelFiles::open(with(key, value)); });
  }
  static std::string message_of(const std::function<void()>& action) {
    try {
      action();
    } catch (const core::Error& error) {
      return error.what();
    }
    return "no error";
  }
  const fs::path folder_ = fs::temp_directory_path() / ("phalanx_mixtral_test_" + std::to_string(getpid()));
};

TEST_F(MixtralFiles, SavedFoldersLoadToTheSameBitsWhicheverSpellingTheyCameFrom) {
  for (const char* name : {"mixtral", "mixtral_v5"}) {
    const auto model = load_model(golden_path(name), at::kDouble);
    const auto original = load_model(golden_path("mixtral"), at::kDouble);
    save_hf(folder_, *model, weights_of(*model), core::DType::kF64, /*max_shard_bytes=*/50000);
    const ModelFiles files = ModelFiles::open(folder_);
    EXPECT_EQ(files.config(), original->config());
    EXPECT_TRUE(files.notices().empty());
    EXPECT_NE(files.weights().find("model.layers.1.block_sparse_moe.experts.3.w2.weight"), nullptr);
    const auto again = load_model(files, at::kDouble);
    for (const auto& [key, parameter] : all_parameters(*original)) {
      EXPECT_TRUE(at::equal(parameter, again->parameter(key))) << key;
    }
    fs::remove_all(folder_);
  }
}

TEST_F(MixtralFiles, TheConfigIsWrittenAsTransformersReadsIt) {
  const auto model = load_model(with("router_z_loss_coef", 0.5), at::kFloat);
  save_hf(folder_, *model, weights_of(*model), core::DType::kF32);
  const nlohmann::json config = nlohmann::json::parse(std::ifstream(folder_ / "config.json"));
  EXPECT_EQ(config["architectures"][0], "MixtralForCausalLM");
  EXPECT_EQ(config["num_local_experts"], 4);
  EXPECT_EQ(config["router_aux_loss_coef"], 0.07);
  EXPECT_EQ(config["output_router_logits"], true);
  EXPECT_EQ(config["router_z_loss_coef"], 0.5);
  EXPECT_TRUE(config["sliding_window"].is_null());
  EXPECT_FALSE(config.contains("attention_bias"));  // Mixtral has none
  EXPECT_EQ(ModelFiles::open(folder_).config(), model->config());
}

TEST_F(MixtralFiles, AbsentKeysHaveTheValuesOfMixtralConfig) {
  with("model_type", "mixtral");
  nlohmann::json config = nlohmann::json::parse(std::ifstream(folder_ / "config.json"));
  for (const char* key :
       {"num_key_value_heads", "num_local_experts", "num_experts_per_tok", "rms_norm_eps", "rope_parameters",
        "max_position_embeddings", "router_aux_loss_coef", "output_router_logits", "router_jitter_noise"})
    config.erase(key);
  config["num_attention_heads"] = 16;
  std::ofstream(folder_ / "config.json") << config;
  const TransformerConfig c = ModelFiles::open(folder_).config();
  EXPECT_EQ(c.num_key_value_heads, 8);
  EXPECT_EQ(c.num_local_experts, 8);
  EXPECT_EQ(c.num_experts_per_tok, 2);
  EXPECT_EQ(c.rms_norm_eps, 1e-5);
  EXPECT_EQ(c.rope_theta, 1e6);
  EXPECT_EQ(c.max_position_embeddings, 131072);
  EXPECT_EQ(c.router_aux_loss_coef, 0.001);
  EXPECT_FALSE(c.output_router_logits);
}

TEST_F(MixtralFiles, ValuesThatAreNotImplementedAreRefused) {
  EXPECT_NE(refusal("router_jitter_noise", 0.1).find("router_jitter_noise is 0.1; only 0 is implemented"),
            std::string::npos);
  EXPECT_EQ(ModelFiles::open(with("sliding_window", 64)).config().sliding_window, 64);
  EXPECT_NE(refusal("num_experts_per_tok", 5).find("must be at most num_local_experts = 4"),
            std::string::npos);
  EXPECT_NE(refusal("router_aux_loss_coef", -0.1).find("router_aux_loss_coef is -0.1"), std::string::npos);
  EXPECT_NE(refusal("num_experts", 8).find("num_local_experts is 4, but num_experts is 8"),
            std::string::npos);
  EXPECT_NE(refusal("hidden_act", "relu").find("hidden_act is \"relu\""), std::string::npos);
}

TEST_F(MixtralFiles, MissingAndUnknownExpertsAreNamed) {
  const std::string message =
      message_of([&] { check_model(ModelFiles::open(with("num_local_experts", 3))); });
  EXPECT_NE(message.find("model.layers.0.block_sparse_moe.experts.3.w1.weight is not part of this model"),
            std::string::npos)
      << message;
  EXPECT_NE(message.find("model.layers.0.block_sparse_moe.gate.weight has the shape [4, 16], the config asks "
                         "for [3, 16]"),
            std::string::npos)
      << message;
}

TEST_F(MixtralFiles, TheAuxiliaryLossFollowsTheConfig) {
  const at::NoGradGuard no_grad;
  const ModelInput input = make_input(at::arange(12), {12});
  const auto loss_with = [&](const char* key, const nlohmann::json& value) {
    return auxiliary_loss(*load_model(with(key, value), at::kDouble), input);
  };
  EXPECT_FALSE(loss_with("output_router_logits", false).defined());
  EXPECT_FALSE(loss_with("router_aux_loss_coef", 0).defined());
  const double balance = loss_with("router_aux_loss_coef", 0.07).item<double>();
  EXPECT_NEAR(loss_with("router_aux_loss_coef", 0.14).item<double>(), 2 * balance, 1e-14);
  const double z1 = loss_with("router_z_loss_coef", 0.5).item<double>() - balance;
  EXPECT_GT(z1, 0);
  EXPECT_NEAR(loss_with("router_z_loss_coef", 1.0).item<double>() - balance, 2 * z1, 1e-13);
}

TEST(NewMixtral, TakesItsExpertsFromTheConfigAndRefusesThemForLlama) {
  ModelOptions options;
  options.family = "mixtral";
  options.hidden_size = 64;
  options.intermediate_size = 32;
  options.num_hidden_layers = options.num_attention_heads = 2;
  options.num_local_experts = 4;
  const TransformerConfig config = config_of_new_model(options, 100);
  EXPECT_EQ(config.num_local_experts, 4);
  EXPECT_EQ(config.num_experts_per_tok, 2);
  EXPECT_EQ(config.load_balancing_coef(), 0.001);
  EXPECT_EQ(config.num_key_value_heads, 2);
  options.family = "llama";
  EXPECT_THROW(config_of_new_model(options, 100), core::Error);
}

}  // namespace
}  // namespace phalanx::model
