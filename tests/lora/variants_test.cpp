// What PEFT calls LoRA, in all its variants: DoRA, rsLoRA, ranks and alphas by pattern, modules saved whole,
// and matrices that are one in transformers' model and several in this one.
#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "core/error.h"
#include "lora/adapted_product.h"
#include "lora/adapter.h"
#include "model/golden_case.h"
#include "model/parameter.h"
#include "ops/cross_entropy.h"

namespace phalanx::lora {
namespace {

namespace fs = std::filesystem;
using model::golden_path;
using model::logits_of;
using model::max_difference;

const std::string kVariants = std::string(PHALANX_SOURCE_DIR) + "/tests/lora/golden/";
constexpr const char* kPeftPrefix = "base_model.model.";

struct VariantCase {
  const char *name, *base, *merged;  // of the goldens; a matrix whose merged values PEFT gave
};

std::shared_ptr<model::CausalLm> base_of(const std::string& folder, const formats::AdapterConfig& adapter,
                                         at::ScalarType dtype = at::kDouble) {
  model::ModelFiles files = model::ModelFiles::open(golden_path(folder));
  if (unties(adapter, files.config())) files = files.untied();
  return model::load_model(files, dtype);
}

/// Of all parts of one of the file's tensors, as the file would hold it.
at::Tensor joined_gradient(const model::CausalLm& model, const PeftTensor& tensor) {
  std::vector<at::Tensor> parts;
  for (const formats::StoredTensor::Part& part : tensor.stored.parts)
    parts.push_back(model.parameter(part.name).grad());
  const at::Tensor whole = at::cat(parts);
  return tensor.stored.is_transposed ? whole.t() : whole;
}

class Variant : public testing::TestWithParam<VariantCase> {
 protected:
  AdapterFiles files_ = open_adapter(kVariants + GetParam().name);
  formats::SafetensorsFile golden_{kVariants + GetParam().name + ".safetensors"};
  // Two samples, as make_family_goldens.py has them.
  model::ModelInput input_ = model::make_input(model::read_tensor(golden_, "ids"), {9, 5});
  std::shared_ptr<model::CausalLm> model_ = base_of(GetParam().base, files_.config);

  Adapter loaded() {
    Adapter adapter = load_adapter(*model_, files_, at::kDouble);
    adapter.settle(*model_);
    return adapter;
  }
};

TEST_P(Variant, LogitsLossAndGradientsEqualPeft) {
  const Adapter adapter = loaded();
  const at::Tensor hidden = model_->hidden(input_);
  EXPECT_LT(
      max_difference(at::linear(hidden, model_->output_weight()), model::read_tensor(golden_, "logits")),
      1e-10);
  const at::Tensor loss =
      ops::linear_cross_entropy(hidden, model_->output_weight(), model::shifted_labels(input_), 1.0);
  EXPECT_NEAR(loss.item<double>(), model::read_tensor(golden_, "loss").item<double>(), 1e-10);
  loss.backward();
  size_t num_trained = 0;
  for (const PeftTensor& tensor : adapter.tensors()) {
    const std::string name = tensor.stored.name.substr(std::string(kPeftPrefix).size());
    EXPECT_LT(max_difference(joined_gradient(*model_, tensor), model::read_tensor(golden_, "grad." + name)),
              1e-10)
        << name;
    num_trained += tensor.stored.parts.size();
  }
  EXPECT_EQ(model::trainable_parameters(*model_).size(), num_trained);
}

TEST_P(Variant, MergedWeightsEqualPeftAndAnswerLikeTheAdapter) {
  const Adapter adapter = loaded();
  std::vector<at::Tensor> parts;
  for (const AdaptedLinear& m : adapter.modules())
    if (m.peft_module == GetParam().merged) parts.push_back(merged_weight(m));
  EXPECT_LT(
      max_difference(at::cat(parts), model::read_tensor(golden_, std::string("merged.") + GetParam().merged)),
      1e-13);
  const model::WeightSource merged = adapter.merged(*model_);
  const auto plain = base_of(GetParam().base, files_.config);
  const at::NoGradGuard no_grad;
  for (auto& [key, parameter] : model::all_parameters(*plain)) at::Tensor(parameter).copy_(merged(key));
  EXPECT_LT(max_difference(logits_of(*plain, input_), logits_of(*model_, input_)), 1e-11);
}

TEST_P(Variant, SavedAdaptersAreThoseThatWereLoaded) {
  const fs::path folder = fs::temp_directory_path() / fmt::format("phalanx_variant_{}", getpid());
  const auto model = base_of(GetParam().base, files_.config, at::kFloat);
  const Adapter adapter = load_adapter(*model, files_, at::kFloat);
  adapter.settle(*model);
  save_adapter(folder, adapter, model::weights_of(*model), core::DType::kF32, "some/base");
  const AdapterFiles written = open_adapter(folder);
  ASSERT_EQ(written.weights->tensors().size(), files_.weights->tensors().size());
  for (const formats::TensorInfo& info : files_.weights->tensors()) {
    const formats::SafetensorsFile file(folder / "adapter_model.safetensors");
    const formats::SafetensorsFile source(kVariants + GetParam().name + "/adapter_model.safetensors");
    EXPECT_TRUE(at::equal(model::read_tensor(file, info.name),
                          model::read_tensor(source, info.name)
                              .to(at::kFloat)
                              .to(model::read_tensor(file, info.name).scalar_type())))
        << info.name;
  }
  const nlohmann::json ours = nlohmann::json::parse(std::ifstream(folder / "adapter_config.json"));
  const nlohmann::json theirs =
      nlohmann::json::parse(std::ifstream(kVariants + GetParam().name + "/adapter_config.json"));
  for (const char* key :
       {"r", "lora_alpha", "rank_pattern", "alpha_pattern", "modules_to_save", "use_dora", "use_rslora"})
    EXPECT_EQ(ours[key], theirs[key]) << key;
  fs::remove_all(folder);
}

TEST_P(Variant, FewRowsAndWholeForwardAgree) {
  const at::NoGradGuard no_grad;
  for (const bool trainable : {false, true}) {
    const auto model = base_of(GetParam().base, files_.config, at::kFloat);
    load_adapter(*model, files_, at::kFloat, trainable).settle(*model);
    const at::Tensor ids = at::arange(30) % 40;
    const at::Tensor whole = model->hidden(model::make_input(ids, {30}));
    for (int i = 0; i < 2; ++i) {
      const at::Tensor few = model->hidden(model::make_input(ids.slice(0, 0, 9), {9}));
      EXPECT_LT(max_difference(whole.slice(0, 0, 9), few), 1e-4);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Lora, Variant,
                         testing::Values(VariantCase{"dora", "untied", "model.layers.1.self_attn.k_proj"},
                                         VariantCase{"patterns", "untied", "model.layers.0.self_attn.q_proj"},
                                         VariantCase{"phi3", "families/phi3",
                                                     "model.layers.1.self_attn.qkv_proj"},
                                         VariantCase{"gpt2", "families/gpt2", "transformer.h.1.attn.c_attn"}),
                         [](const auto& info) { return std::string(info.param.name); });

TEST(FreshVariants, ChangeNothingAndTrainWhatPeftTrains) {
  for (const char* base : {"untied", "families/phi3", "families/gpt2"}) {
    const LoraOptions options = {.r = 4, .use_dora = true, .modules_to_save = {"lm_head"}};
    formats::AdapterConfig saved;
    saved.modules_to_save = options.modules_to_save;
    const auto model = base_of(base, saved);
    const model::ModelInput input = model::make_input(at::arange(14) % 40, {9, 5});
    const at::Tensor before = logits_of(*model, input).detach();
    const Adapter adapter = apply(*model, options, /*seed=*/1, at::kDouble);
    adapter.settle(*model);
    EXPECT_LT(max_difference(logits_of(*model, input).detach(), before), 1e-12) << base;
    int64_t trained = 0;
    for (const auto& [name, parameter] : model::trainable_parameters(*model)) trained += parameter.numel();
    EXPECT_EQ(trained, adapter.num_parameters());
    EXPECT_TRUE(model->parameter("lm_head.weight").requires_grad());
  }
}

TEST(FreshVariants, OfJoinedMatricesHaveOneFactorA) {
  const auto model = base_of("families/phi3", {});
  const Adapter adapter = apply(*model, {.r = 4}, 1, at::kDouble);
  EXPECT_EQ(adapter.config().target_modules,
            (std::vector<std::string>{"down_proj", "gate_up_proj", "o_proj", "qkv_proj"}));
  EXPECT_FALSE(adapter.config().fan_in_fan_out);
  EXPECT_TRUE(adapter.modules()[0].a.is_same(adapter.modules()[2].a));
  EXPECT_EQ(adapter.modules()[1].peft_module, "model.layers.0.self_attn.qkv_proj");
  const auto gpt2 = base_of("families/gpt2", {});
  EXPECT_TRUE(apply(*gpt2, {.r = 4}, 1, at::kDouble).config().fan_in_fan_out);
}

TEST(FreshVariants, ABaseThatIsTrainedItselfCannotBeShown) {
  const auto model = base_of("untied", {});
  Adapter adapter = apply(*model, {.r = 2, .modules_to_save = {"lm_head"}}, 1, at::kDouble);
  EXPECT_THROW(adapter.set_enabled(false), core::Error);
  adapter.set_enabled(true);
}

std::string refusal(const char* base, const LoraOptions& options) {
  try {
    apply(*base_of(base, {}), options, 0, at::kFloat);
  } catch (const core::Error& error) {
    return error.what();
  }
  return "";
}

TEST(VariantRefusals, SayWhatIsAllowed) {
  EXPECT_NE(
      refusal("families/phi3", {.target_modules = {"q_proj"}})
          .find(
              "\"q_proj\" is no linear module of this model that can have an adapter; there are all-linear, "
              "down_proj, gate_up_proj, o_proj, qkv_proj"),
      std::string::npos);
  EXPECT_EQ(refusal("untied", {.modules_to_save = {"head"}}), "");  // the end of a word is enough, as in PEFT
  EXPECT_NE(refusal("untied", {.modules_to_save = {"score"}}).find("lora.modules_to_save: \"score\""),
            std::string::npos);
  EXPECT_NE(refusal("untied", {.target_modules = {"q_proj"}, .modules_to_save = {"q_proj"}})
                .find("is in lora.target_modules and in lora.modules_to_save"),
            std::string::npos);
  EXPECT_NE(refusal("untied", {.rank_pattern = {{"w_proj", 2}}}).find("lora.rank_pattern: \"w_proj\""),
            std::string::npos);
  EXPECT_NE(refusal("untied", {.target_modules = {"q_proj"}, .alpha_pattern = {{"k_proj", 2}}})
                .find("lora.alpha_pattern: \"k_proj\""),
            std::string::npos);
}

/// An adapter file with tensors renamed, left out or added. @return what load_adapter says of it.
std::string refusal_of_file(const std::map<std::string, std::string>& renamed) {
  const fs::path folder = fs::temp_directory_path() / fmt::format("phalanx_renamed_{}", getpid());
  fs::create_directories(folder);
  fs::copy_file(kVariants + "dora/adapter_config.json", folder / "adapter_config.json",
                fs::copy_options::overwrite_existing);
  {
    const formats::SafetensorsFile source(kVariants + "dora/adapter_model.safetensors");
    std::vector<formats::TensorSpec> specs;
    for (const formats::TensorInfo& info : source.tensors()) {
      const auto found = renamed.find(info.name);
      const std::string name = found == renamed.end() ? info.name : found->second;
      if (!name.empty()) specs.push_back({name, info.dtype, info.shape});
    }
    formats::SafetensorsWriter writer(folder / "adapter_model.safetensors", specs);
    for (const formats::TensorInfo& info : source.tensors()) {
      const auto found = renamed.find(info.name);
      const std::string name = found == renamed.end() ? info.name : found->second;
      if (!name.empty()) writer.write(name, source.bytes(info));
    }
    writer.finish();
  }
  std::string message;
  try {
    load_adapter(*base_of("untied", {}), open_adapter(folder), at::kDouble);
  } catch (const core::Error& error) {
    EXPECT_EQ(error.code(), core::ExitCode::kBadInput);
    message = error.what();
  }
  fs::remove_all(folder);
  return message;
}

TEST(AdapterFileRefusals, ListEveryKeyThatDoesNotFit) {
  const std::string q = "base_model.model.model.layers.0.self_attn.q_proj.",
                    up = "base_model.model.model.layers.1.mlp.up_proj.";
  EXPECT_EQ(refusal_of_file({}), "");
  const std::string missing =
      refusal_of_file({{q + "lora_B.weight", ""}, {up + "lora_magnitude_vector", ""}});
  EXPECT_NE(missing.find("missing: " + q + "lora_B.weight, " + up + "lora_magnitude_vector"),
            std::string::npos)
      << missing;
  const std::string renamed = refusal_of_file({{q + "lora_A.weight", q + "lora_C.weight"}});
  EXPECT_NE(renamed.find("missing: " + q + "lora_A.weight"), std::string::npos) << renamed;
  EXPECT_NE(renamed.find("no module of the base has a place for: " + q + "lora_C.weight"), std::string::npos)
      << renamed;
}

}  // namespace
}  // namespace phalanx::lora
