// What export, merge and import hold at most: three times the largest tensor and 300 MB, whatever the model.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>

#include "formats/hf_weights.h"
#include "launch/program.h"

namespace phalanx::launch {
namespace {

namespace fs = std::filesystem;
using core::DType;

// 90M parameters: 180 MB in bf16, of which the largest tensor is 4.2 MB. Held in fp32 it would be 360 MB, and
// as much again for the copy.
constexpr int64_t kWide = 768, kFeedForward = 2736, kLayers = 11, kVocab = 259;
constexpr uint64_t kMegabyte = 1'000'000;

/// An adapter on every matrix of a layer, and the base: random bf16 weights.
class BoundedModel {
 public:
  explicit BoundedModel(const test::Workplace& place) : place_(place) {
    std::vector<formats::TensorSpec> base = {{"model.embed_tokens.weight", DType::kBF16, {kVocab, kWide}},
                                             {"lm_head.weight", DType::kBF16, {kVocab, kWide}},
                                             {"model.norm.weight", DType::kBF16, {kWide}}};
    std::vector<formats::TensorSpec> adapter;
    for (int64_t i = 0; i < kLayers; ++i) {
      const std::string layer = "model.layers." + std::to_string(i) + ".";
      for (const char* norm : {"input_layernorm", "post_attention_layernorm"})
        base.push_back({layer + norm + ".weight", DType::kBF16, {kWide}});
      for (const auto& [name, out, in] :
           std::vector<std::tuple<std::string, int64_t, int64_t>>{{"self_attn.q_proj", kWide, kWide},
                                                                  {"self_attn.k_proj", kWide / 2, kWide},
                                                                  {"self_attn.v_proj", kWide / 2, kWide},
                                                                  {"self_attn.o_proj", kWide, kWide},
                                                                  {"mlp.gate_proj", kFeedForward, kWide},
                                                                  {"mlp.up_proj", kFeedForward, kWide},
                                                                  {"mlp.down_proj", kWide, kFeedForward}}) {
        base.push_back({layer + name + ".weight", DType::kBF16, {out, in}});
        const std::string factor = "base_model.model." + layer + name;
        adapter.push_back({factor + ".lora_A.weight", DType::kF32, {kRank, in}});
        adapter.push_back({factor + ".lora_B.weight", DType::kF32, {out, kRank}});
      }
    }
    write("base", "model.safetensors", base);
    write("adapter", "adapter_model.safetensors", adapter);
    for (const char* name : {"tokenizer.json", "tokenizer_config.json"})
      fs::copy(place.folder() / "tokenizer" / name, place.folder() / "base" / name);
    place.write("base/config.json", nlohmann::json{{"architectures", {"LlamaForCausalLM"}},
                                                   {"model_type", "llama"},
                                                   {"hidden_size", kWide},
                                                   {"intermediate_size", kFeedForward},
                                                   {"num_hidden_layers", kLayers},
                                                   {"num_attention_heads", 12},
                                                   {"num_key_value_heads", 6},
                                                   {"vocab_size", kVocab},
                                                   {"max_position_embeddings", 512},
                                                   {"rms_norm_eps", 1e-5},
                                                   {"hidden_act", "silu"},
                                                   {"tie_word_embeddings", false}}
                                        .dump());
    place.write(
        "adapter/adapter_config.json",
        nlohmann::json{
            {"peft_type", "LORA"},
            {"task_type", "CAUSAL_LM"},
            {"r", kRank},
            {"lora_alpha", 32},
            {"target_modules", {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}}}
            .dump());
  }
  static uint64_t largest_tensor_bytes() { return 2 * kWide * kFeedForward; }
  static uint64_t allowed_bytes() { return 3 * largest_tensor_bytes() + 300 * kMegabyte; }
  uint64_t num_bytes() const { return fs::file_size(place_.folder() / "base" / "model.safetensors"); }

 private:
  static constexpr int64_t kRank = 16;

  void write(const std::string& folder, const char* file, const std::vector<formats::TensorSpec>& specs) {
    fs::create_directories(place_.folder() / folder);
    formats::SafetensorsWriter writer(place_.folder() / folder / file, specs);
    for (const formats::TensorSpec& spec : specs) {
      std::vector<float> values(formats::count_elements(spec.shape).value());
      // +-(0.02 .. 0.04): random sign and mantissa.
      for (float& value : values) {
        const auto bits = static_cast<uint32_t>(random_());
        value = (bits & 1 ? -1 : 1) * (0.02f + 0.02f * static_cast<float>(bits >> 8) / float(1 << 24));
      }
      writer.write_floats(spec.name, values);
    }
    writer.finish();
  }

  const test::Workplace& place_;
  std::mt19937 random_{1};
};

/// Anonymous memory of a process, from /proc; 0 when it has ended.
uint64_t anonymous_bytes(pid_t pid) {
  std::ifstream status("/proc/" + std::to_string(pid) + "/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with("RssAnon:")) return std::stoull(line.substr(8)) * 1024;
  return 0;
}

struct MeasuredRun {
  int exit_code = -1;
  uint64_t peak_anonymous_bytes = 0;
};

/// Runs the program and looks at its memory every millisecond.
MeasuredRun measured_run(const test::Workplace& place, std::vector<std::string> words) {
  words.insert(words.begin(), PHALANX_PROGRAM);
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  const pid_t pid = fork();
  if (pid == 0) {
    if (chdir(place.folder().c_str()) != 0) _exit(1);
    execv(PHALANX_PROGRAM, arguments.data());
    _exit(1);
  }
  MeasuredRun run;
  int status = 0;
  while (waitpid(pid, &status, WNOHANG) == 0) {
    run.peak_anonymous_bytes = std::max(run.peak_anonymous_bytes, anonymous_bytes(pid));
    usleep(1000);
  }
  run.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  return run;
}

TEST(BoundedMemory, OfConversionsAndTheirVerificationFollowsTheLargestTensor) {
  const test::Workplace place;
  const BoundedModel model(place);
  ASSERT_GT(2 * model.num_bytes(), BoundedModel::allowed_bytes()) << "the model in fp32 must not fit";
  const std::vector<std::vector<std::string>> commands = {
      {"export", "base", "hf", "--max-shard-bytes", "50000000"},
      {"export", "base", "q4.gguf", "--to", "gguf", "--outtype", "q8_0"},
      {"import", "q4.gguf", "imported", "--outtype", "bf16"},
      {"merge", "base", "adapter", "merged"},
      {"verify", "export", "base", "hf"},
  };
  for (const std::vector<std::string>& words : commands) {
    const MeasuredRun run = measured_run(place, words);
    const std::string what = words[0] + " " + words[1] + " " + words[2];
    EXPECT_EQ(run.exit_code, 0) << what;
    EXPECT_GT(run.peak_anonymous_bytes, 10 * kMegabyte) << what;
    EXPECT_LE(run.peak_anonymous_bytes, BoundedModel::allowed_bytes()) << what;
    RecordProperty(words[0] + "_" + words[2], std::to_string(run.peak_anonymous_bytes / kMegabyte) + " MB");
    std::printf("%-40s %4llu MB of %llu allowed\n", what.c_str(),
                static_cast<unsigned long long>(run.peak_anonymous_bytes / kMegabyte),
                static_cast<unsigned long long>(BoundedModel::allowed_bytes() / kMegabyte));
  }
}

}  // namespace
}  // namespace phalanx::launch
