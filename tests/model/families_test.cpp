#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "formats/hf_weights.h"
#include "formats/stored_tensor.h"
#include "model/config_json.h"
#include "model/golden_case.h"
#include "model/initialize.h"
#include "model/kv_cache.h"
#include "model/parameter.h"
#include "model/save.h"

namespace phalanx::model {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr int32_t kLong = 9, kShort = 5;  // of the samples in the golden files

double relative(const at::Tensor& a, const at::Tensor& b) {
  return max_difference(a, b) / b.abs().max().item<double>();
}

at::Tensor log_probabilities(CausalLm& model, const ModelInput& input) {
  return model.head().logits(model.hidden(input), model.output_weight()).to(at::kDouble).log_softmax(1);
}

fs::path folder_of(const std::string& name) {
  return golden_path("families/" + name);
}

json config_of(const std::string& name) {
  return json::parse(std::ifstream(folder_of(name) / "config.json"));
}

TransformerConfig parse(const json& config) {
  return parse_config(in_common_keys(formats::HfConfig(config, "config.json")));
}

std::string message_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const core::Error& error) {
    return error.what();
  }
  return "no error";
}

/// Gradients under the names, and in the shapes, of the family's files.
std::map<std::string, at::Tensor> stored_gradients(const CausalLm& model) {
  std::map<std::string, at::Tensor> gradients;
  for (const auto& [name, parameter] : all_parameters(model)) gradients[name] = parameter.grad();
  const Family& family = find_family(model.config().model_type);
  if (!family.stored_tensors) return gradients;
  for (const formats::StoredTensor& stored : family.stored_tensors(model.config())) {
    std::vector<at::Tensor> parts;
    for (const auto& part : stored.parts) parts.push_back(gradients.extract(part.name).mapped());
    const at::Tensor whole = at::cat(parts);
    gradients[stored.name] = stored.is_transposed ? whole.t() : whole;
  }
  return gradients;
}

class Families : public testing::TestWithParam<const char*> {
 protected:
  std::shared_ptr<CausalLm> load(at::ScalarType dtype) const {
    return load_model(folder_of(GetParam()), dtype);
  }
  at::Tensor golden(const std::string& name) const { return read_tensor(file_, name); }
  ModelInput samples() const { return make_input(golden("ids"), {kLong, kShort}); }
  bool depends_on_length() const { return std::string(GetParam()) == "llama_dynamic"; }

  const formats::SafetensorsFile file_{golden_path(std::string("families/") + GetParam() + ".safetensors")};
};

TEST_P(Families, LogProbabilitiesOfPackedSamplesEqualTransformersOnEachSample) {
  const at::NoGradGuard no_grad;
  const at::Tensor expected = golden("logits").log_softmax(1);
  for (const auto& [dtype, bound] : {std::pair(at::kDouble, 1e-10), {at::kFloat, 1e-4}})
    EXPECT_LT(max_difference(log_probabilities(*load(dtype), samples()), expected), bound) << dtype;
}

TEST_P(Families, LossAndEveryGradientEqualTransformers) {
  for (const auto& [dtype, bound] : {std::pair(at::kDouble, 1e-10), {at::kFloat, 1e-4}}) {
    const auto model = load(dtype);
    const ModelInput input = samples();
    const at::Tensor labels = shifted_labels(input);
    const LayersOutput out = model->forward(input);
    // With routers the mean and their loss, as in the script.
    const double scale = model->num_router_sums() > 0 ? 1.0 / (kLong + kShort - 2) : 1.0;
    at::Tensor loss = model->head().cross_entropy(out.hidden, model->output_weight(), labels, scale) * scale;
    const at::Tensor auxiliary = model->auxiliary_loss(out.router_sums);
    if (auxiliary.defined()) loss = loss + auxiliary.to(loss.scalar_type());
    EXPECT_LT(relative(loss, golden("loss")), bound) << dtype;
    loss.backward();
    for (const auto& [name, gradient] : stored_gradients(*model)) {
      ASSERT_TRUE(gradient.defined()) << name;
      const at::Tensor expected = golden("grad." + name);
      if (expected.abs().max().item<double>() == 0) {  // an expert that nobody asked
        EXPECT_EQ(gradient.abs().max().item<double>(), 0) << name;
        continue;
      }
      EXPECT_LT(relative(gradient, expected), bound) << name << " " << dtype;
    }
  }
}

TEST_P(Families, GreedyTextThroughTheCacheEqualsTransformers) {
  const at::NoGradGuard no_grad;
  for (const auto dtype : {at::kDouble, at::kFloat}) {
    const auto model = load(dtype);
    KvCache cache(1, {.page_tokens = 16});
    ModelInput next = make_input(golden("ids").slice(0, 0, kLong), {kLong});
    std::vector<int64_t> text;
    for (int64_t position = kLong; position < kLong + 8; ++position) {
      const at::Tensor last = model->hidden_cached(next, cache).slice(0, -1);
      text.push_back(model->head().logits(last, model->output_weight()).argmax().item<int64_t>());
      next = {at::full({1}, text.back(), at::kLong), at::full({1}, position, at::kLong), {0, 1}};
    }
    EXPECT_TRUE(at::equal(at::tensor(text, at::kLong), golden("generated").to(at::kLong)))
        << at::tensor(text);
  }
}

TEST_P(Families, OneTokenAtATimeThroughTheCacheEqualsTheWholeForward) {
  if (depends_on_length()) return;  // each token then has the angles of the text so far
  const at::NoGradGuard no_grad;
  for (const auto& [dtype, bound] : {std::pair(at::kDouble, 1e-11), {at::kFloat, 1e-4}}) {
    const auto model = load(dtype);
    const at::Tensor ids = golden("ids").slice(0, 0, kLong);
    const at::Tensor whole = model->hidden(make_input(ids, {kLong}));
    KvCache cache(1, {.page_tokens = 16});
    for (int64_t i = 0; i < kLong; ++i) {
      const ModelInput one{ids.slice(0, i, i + 1).to(at::kLong), at::arange(i, i + 1, at::kLong), {0, 1}};
      EXPECT_LT(relative(model->hidden_cached(one, cache), whole.slice(0, i, i + 1)), bound) << i;
    }
  }
}

TEST_P(Families, FilesAreReadWholeAndWrittenAsTheyWere) {
  const fs::path folder = fs::temp_directory_path() / ("phalanx_families_" + std::to_string(getpid()));
  const ModelFiles files = ModelFiles::open(folder_of(GetParam()));
  for (const std::string& notice : files.notices())
    EXPECT_NE(notice.find("without dropout"), std::string::npos) << notice;
  int64_t count = 0;
  for (const auto& [name, parameter] : all_parameters(*build(files.config()))) count += parameter.numel();
  EXPECT_EQ(count, files.config().num_parameters());

  const auto model = load_model(files, at::kFloat);
  save_hf(folder, *model, weights_of(*model), core::DType::kF32, /*max_shard_bytes=*/8000);
  const ModelFiles again = ModelFiles::open(folder);
  EXPECT_EQ(again.config(), files.config());
  EXPECT_TRUE(again.notices().empty());
  const formats::HfWeights before(folder_of(GetParam())), after(folder);
  EXPECT_EQ(before.tensors().size(), after.tensors().size());
  for (const formats::TensorInfo& tensor : before.tensors()) {
    const formats::TensorInfo* written = after.find(tensor.name);
    ASSERT_NE(written, nullptr) << tensor.name;
    EXPECT_EQ(written->shape, tensor.shape) << tensor.name;
    EXPECT_TRUE(std::ranges::equal(after.bytes(*written), before.bytes(tensor))) << tensor.name;
  }
  fs::remove_all(folder);
}

INSTANTIATE_TEST_SUITE_P(Golden, Families,
                         testing::Values("llama_linear", "llama_dynamic", "llama_yarn", "llama_yarn_all",
                                         "mistral", "qwen2", "qwen2_window", "qwen3", "qwen3_moe", "gemma2",
                                         "gemma3_text", "phi3", "olmo2", "gpt2"),
                         [](const auto& info) { return std::string(info.param); });

// --- Both spellings, absent keys, refusals ---

TEST(FamilyConfigs, SpellingsOfTransformers4ReadTheSame) {
  for (const char* name : {"llama_linear", "llama_dynamic", "llama_yarn", "llama_yarn_all", "mistral"}) {
    json config = config_of(name);
    const TransformerConfig expected = parse(config);
    json scaling = config["rope_parameters"];
    config.erase("rope_parameters");
    config["rope_theta"] = scaling["rope_theta"];
    scaling.erase("rope_theta");
    if (scaling["rope_type"] == "default") scaling = nullptr;
    config["rope_scaling"] = scaling;
    EXPECT_EQ(parse(config), expected) << name;
    if (scaling.is_null()) continue;
    config["rope_scaling"]["type"] = config["rope_scaling"]["rope_type"];
    config["rope_scaling"].erase("rope_type");
    EXPECT_EQ(parse(config), expected) << name;
  }
}

TEST(FamilyConfigs, Gemma3OfTransformers4ReadsTheSame) {
  json config = config_of("gemma3_text");
  config["layer_types"] = {"sliding_attention", "full_attention", "sliding_attention"};
  const TransformerConfig expected = parse(config);
  config.erase("layer_types");
  config.erase("rope_parameters");
  config["sliding_window_pattern"] = 2;
  config["rope_theta"] = 5000.0;
  config["rope_local_base_freq"] = 50.0;
  config["rope_scaling"] = {{"rope_type", "linear"}, {"factor", 8.0}};
  EXPECT_EQ(parse(config), expected);
  config["rope_parameters"] = config_of("gemma3_text")["rope_parameters"];
  EXPECT_EQ(parse(config), expected);
  config["rope_local_base_freq"] = 51.0;
  EXPECT_NE(message_of([&] { parse(config); }).find("remove the one that is wrong"), std::string::npos);
}

TEST(FamilyConfigs, AbsentKeysHaveTheValuesOfTransformers) {
  const auto minimal = [](const char* type) {
    return json{{"model_type", type},      {"vocab_size", 100},       {"hidden_size", 64},
                {"intermediate_size", 32}, {"num_hidden_layers", 12}, {"num_attention_heads", 32}};
  };
  EXPECT_EQ(parse(minimal("mistral")).sliding_window, 4096);
  EXPECT_EQ(parse(minimal("mistral")).num_key_value_heads, 8);
  json mistral = minimal("mistral"), gemma = minimal("gemma2");
  mistral["sliding_window"] = mistral["num_key_value_heads"] = nullptr;
  EXPECT_EQ(parse(mistral).sliding_window, 0);
  EXPECT_EQ(parse(mistral).num_key_value_heads, 32);
  gemma["attn_logit_softcapping"] = nullptr;
  EXPECT_EQ(parse(gemma).attn_logit_softcapping, 0);
  EXPECT_EQ(parse(minimal("qwen2")).sliding_window, 0);
  EXPECT_TRUE(parse(minimal("qwen2")).attention_bias);
  EXPECT_EQ(parse(minimal("qwen3")).head_dim, 128);
  EXPECT_FALSE(parse(minimal("qwen3_moe")).norm_topk_prob);
  EXPECT_EQ(parse(minimal("qwen3_moe")).num_local_experts, 128);
  EXPECT_EQ(parse(minimal("qwen3_moe")).expert_size(), 768);
  const TransformerConfig gemma2 = parse(minimal("gemma2")), gemma3 = parse(minimal("gemma3_text"));
  EXPECT_EQ(gemma2.attn_logit_softcapping, 50);
  EXPECT_EQ(gemma2.final_logit_softcapping, 30);
  EXPECT_TRUE(gemma2.is_sliding(0) && !gemma2.is_sliding(1) && gemma2.is_sliding(2));
  EXPECT_TRUE(gemma3.is_sliding(4) && !gemma3.is_sliding(5) && gemma3.is_sliding(6));
  EXPECT_EQ(gemma3.rope_theta, 1e6);
  EXPECT_EQ(gemma3.rope_local_base_freq, 1e4);
  EXPECT_TRUE(gemma3.tie_word_embeddings);
  EXPECT_EQ(gemma3.head_dim, 256);
  EXPECT_EQ(parse(minimal("phi3")).rms_norm_eps, 1e-5);
  const TransformerConfig gpt2 =
      parse({{"model_type", "gpt2"}, {"vocab_size", 100}, {"n_embd", 64}, {"n_layer", 2}, {"n_head", 4}});
  EXPECT_EQ(gpt2.intermediate_size, 256);
  EXPECT_EQ(gpt2.max_position_embeddings, 1024);
  EXPECT_TRUE(gpt2.tie_word_embeddings);
}

class FamilyFiles : public testing::Test {
 protected:
  ~FamilyFiles() override { fs::remove_all(folder_); }
  fs::path with(const char* name, const json& changes) const {
    fs::remove_all(folder_);
    fs::copy(folder_of(name), folder_, fs::copy_options::recursive);
    json config = config_of(name);
    config.update(changes);
    std::ofstream(folder_ / "config.json") << config;
    return folder_;
  }
  std::string refusal(const char* name, const json& changes) const {
    return message_of([&] { ModelFiles::open(with(name, changes)); });
  }
  const fs::path folder_ = fs::temp_directory_path() / ("phalanx_family_files_" + std::to_string(getpid()));
};

TEST_F(FamilyFiles, UnreadKeysThatChangeTheMathsAndUnknownArchitecturesAreErrorsThatListWhatIsSupported) {
  const std::pair<json, const char*> cases[] = {
      {{{"attn_logit_softcapping", 50.0}},
       "attn_logit_softcapping = 50.0 would change what the model computes"},
      {{{"partial_rotary_factor", 0.5}}, "partial_rotary_factor = 0.5"},
      {{{"quantization_config", {{"bits", 4}}}}, "quantization_config"},
      {{{"residual_multiplier", 0.2}}, "and is not implemented for llama"},
      {{{"architectures", {"LlamaForQuestionAnswering"}}}, "architectures is LlamaForQuestionAnswering"},
      {{{"model_type", "mamba"}},
       "model family \"mamba\" is not known; known are: gemma2, gemma3_text, gpt2"}};
  for (const auto& [changes, expected] : cases) {
    const std::string message = refusal("llama_linear", changes);
    EXPECT_NE(message.find(expected), std::string::npos) << message;
    EXPECT_TRUE(message.find("Gemma3ForCausalLM") != std::string::npos ||
                message.find("qwen3_moe") != std::string::npos)
        << message;
  }
  EXPECT_EQ(refusal("llama_linear", {{"partial_rotary_factor", 1.0}, {"residual_multiplier", 1.0}}),
            "no error");
}

TEST_F(FamilyFiles, ValuesThatAreNotImplementedAreRefused) {
  const std::tuple<const char*, json, const char*> cases[] = {
      {"gemma3_text", {{"use_bidirectional_attention", true}}, "use_bidirectional_attention is true"},
      {"gemma3_text",
       {{"layer_types", {"sliding_attention", "chunked_attention", "full_attention"}}},
       "layer_types has \"chunked_attention\""},
      {"gemma3_text",
       {{"layer_types", {"full_attention"}}},
       "layer_types has 1 entries but num_hidden_layers is 3"},
      {"gpt2", {{"scale_attn_by_inverse_layer_idx", true}}, "scale_attn_by_inverse_layer_idx = true"},
      {"gpt2", {{"activation_function", "relu"}}, "hidden_act is \"relu\"; implemented are gelu, gelu_new"},
      {"phi3",
       {{"rope_parameters", {{"rope_type", "default"}, {"partial_rotary_factor", 0.75}}}},
       "partial_rotary_factor"},
      {"qwen2", {{"attention_bias", false}}, "no error"},
      {"gemma2", {{"query_pre_attn_scalar", -1}}, "query_pre_attn_scalar"}};
  for (const auto& [name, changes, expected] : cases)
    EXPECT_NE(refusal(name, changes).find(expected), std::string::npos) << refusal(name, changes);
}

TEST_F(FamilyFiles, OldGpt2FilesWithoutPrefixAndWithBuffersAreRead) {
  const formats::HfWeights file(folder_of("gpt2"));
  with("gpt2", json::object());
  fs::remove(folder_ / "model.safetensors");
  std::vector<formats::TensorSpec> specs;
  for (const formats::TensorInfo& tensor : file.tensors())
    specs.push_back({tensor.name.substr(std::string("transformer.").size()), tensor.dtype, tensor.shape});
  specs.push_back({"h.0.attn.bias", core::DType::kF32, {1, 1, 2, 2}});
  formats::HfWeightsWriter writer(folder_, specs, 1 << 30);
  for (const formats::TensorInfo& tensor : file.tensors())
    writer.write(tensor.name.substr(std::string("transformer.").size()), file.bytes(tensor));
  writer.write_floats("h.0.attn.bias", std::vector<float>{1, 0, 1, 1});
  writer.finish();
  const auto old = load_model(folder_, at::kFloat), fresh = load_model(folder_of("gpt2"), at::kFloat);
  for (const auto& [name, parameter] : all_parameters(*fresh))
    EXPECT_TRUE(at::equal(parameter, old->parameter(name))) << name;
}

TEST_F(FamilyFiles, LearnedPositionsEndWithAnError) {
  const at::NoGradGuard no_grad;
  const auto model = load_model(folder_of("gpt2"), at::kFloat);
  EXPECT_NE(message_of([&] {
              model->hidden(make_input(at::ones({33}), {33}));
            }).find("a sample has 33 tokens, but the model has learned positions for 32"),
            std::string::npos);
}

TEST(NewFamilies, NormsStartAsOne) {
  const TransformerConfig config = ModelFiles::open(folder_of("gemma2")).config();
  const auto model = new_model(config, at::kFloat, 1);
  EXPECT_EQ(model->parameter("model.norm.weight").abs().max().item<float>(), 0);
}

}  // namespace
}  // namespace phalanx::model
