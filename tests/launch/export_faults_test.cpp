// Faults that are planted between writing and reading back: each is caught, named, and nothing is left in
// place.
#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "comm/run_ranks.h"
#include "core/error.h"
#include "core/files.h"
#include "formats/gguf.h"
#include "formats/gguf_tensor.h"
#include "launch/export_job.h"
#include "lora/adapter.h"
#include "model/golden_case.h"
#include "model/parameter.h"
#include "model/save.h"

namespace phalanx::launch {
namespace {

namespace fs = std::filesystem;
using Bytes = std::vector<std::byte>;
using formats::TensorInfo;

constexpr int64_t kHeadDim = 64;
constexpr double kLoraScale = 4;  // alpha 16 / r 4

std::shared_ptr<model::CausalLm> faults_model(bool is_tied) {
  model::TransformerConfig config = model::ModelFiles::open(model::golden_path("untied")).config();
  config.vocab_size = 259;
  config.hidden_size = config.intermediate_size = 256;
  config.num_attention_heads = 4;
  config.num_key_value_heads = 2;
  config.head_dim = kHeadDim;
  config.attention_bias = true;
  config.tie_word_embeddings = is_tied;
  auto model = model::new_model(config, at::kFloat, 3);
  const c10::NoGradGuard no_grad;
  at::Tensor ramp = at::linspace(-0.1, 0.1, 256);
  for (auto& [name, parameter] : model::all_parameters(*model))
    if (name.ends_with("bias")) parameter.copy_(ramp.narrow(0, 0, parameter.numel()));
  return model;
}

void add_tokenizer(const fs::path& folder) {
  for (const char* name : {"tokenizer.json", "tokenizer_config.json"})
    fs::copy(fs::path(PHALANX_SOURCE_DIR "/tests/launch/fixture/tokenizer") / name, folder / name);
}

/// Folders "plain", "tied" and "adapter" (on plain), made once.
class ExportSources {
 public:
  static const fs::path& folder() {
    static const ExportSources sources;
    return sources.folder_;
  }
  ~ExportSources() { fs::remove_all(folder_); }

 private:
  ExportSources() {
    for (const bool is_tied : {false, true}) {
      const auto model = faults_model(is_tied);
      const fs::path to = folder_ / (is_tied ? "tied" : "plain");
      model::save_hf(to, *model, model::weights_of(*model), core::DType::kF32);
      add_tokenizer(to);
    }
    const auto base = faults_model(false);
    lora::LoraOptions options;
    options.r = 4;
    options.alpha = 4 * kLoraScale;
    const lora::Adapter adapter = lora::apply(*base, options, 1, at::kFloat);
    {
      const c10::NoGradGuard no_grad;
      for (const lora::AdaptedLinear& m : adapter.modules()) at::Tensor(m.b).fill_(0.003);
    }
    lora::save_adapter(folder_ / "adapter", adapter, model::weights_of(*base), core::DType::kF32, "plain");
  }
  const fs::path folder_ = fs::temp_directory_path() / ("phalanx_export_faults_" + std::to_string(getpid()));
};

using ChangeTensor = std::function<void(Bytes& bytes, const TensorInfo& tensor)>;

/// Overwrites one tensor of a written export.
void edit_tensor(const fs::path& made, const std::string& name, const ChangeTensor& change) {
  const bool is_gguf = made.extension() == ".gguf";
  const fs::path file = is_gguf ? made : made / "model.safetensors";
  TensorInfo tensor;
  Bytes bytes;
  {
    const std::unique_ptr<formats::TensorFile> read =
        is_gguf ? std::unique_ptr<formats::TensorFile>(std::make_unique<formats::GgufFile>(file))
                : std::make_unique<formats::SafetensorsFile>(file);
    ASSERT_NE(read->find(name), nullptr) << name;
    tensor = *read->find(name);
    bytes.assign(read->bytes(tensor).begin(), read->bytes(tensor).end());
  }
  change(bytes, tensor);
  std::fstream out(file, std::ios::in | std::ios::out | std::ios::binary);
  out.seekp(static_cast<std::streamoff>(tensor.offset_bytes));
  out.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  ASSERT_TRUE(out.flush());
}

using Damage = std::function<void(const fs::path& made)>;
Damage in(const std::string& name, const ChangeTensor& change) {
  return [=](const fs::path& made) { edit_tensor(made, name, change); };
}

void transpose(Bytes& bytes, const TensorInfo& tensor) {  // a square matrix
  const auto n = static_cast<size_t>(tensor.shape[0]), size = bytes.size() / (n * n);
  const Bytes old = bytes;
  for (size_t i = 0; i < n; ++i)
    for (size_t j = 0; j < n; ++j) std::memcpy(&bytes[(i * n + j) * size], &old[(j * n + i) * size], size);
}
void to_hf_order(Bytes& bytes, const TensorInfo& tensor) {
  const Bytes old = bytes;
  formats::rows_to_hf(old, tensor.shape[0] / kHeadDim, kHeadDim, bytes);
}
void to_gguf_order(Bytes& bytes, const TensorInfo& tensor) {
  const Bytes old = bytes;
  formats::rows_to_gguf(old, tensor.shape[0] / kHeadDim, kHeadDim, bytes);
}
void zero(Bytes& bytes, const TensorInfo&) {
  std::fill(bytes.begin(), bytes.end(), std::byte{0});
}
void drop_scale(Bytes& bytes, const TensorInfo&) {  // of the first block: all these types begin with it
  bytes[0] = bytes[1] = std::byte{0};
}
void flip_lowest_bit(Bytes& bytes, const TensorInfo&) {
  bytes[bytes.size() / 2] ^= std::byte{1};
}

// W + B A in place of W + scale B A.
ChangeTensor omit_lora_scale(const std::string& hf_name) {
  return [hf_name](Bytes& bytes, const TensorInfo&) {
    const formats::HfWeights base(ExportSources::folder() / "plain");
    const auto* plain = reinterpret_cast<const float*>(base.bytes(*base.find(hf_name)).data());
    auto* merged = reinterpret_cast<float*>(bytes.data());
    for (size_t i = 0; i < bytes.size() / sizeof(float); ++i)
      merged[i] = plain[i] + (merged[i] - plain[i]) / static_cast<float>(kLoraScale);
  };
}

/// The folder's weights with `change` applied to the list of what is in them.
Damage rewrite(const std::function<void(std::map<std::string, std::pair<TensorInfo, Bytes>>&)>& change) {
  return [change](const fs::path& made) {
    std::map<std::string, std::pair<TensorInfo, Bytes>> all;
    {
      const formats::HfWeights read(made);
      for (const TensorInfo& tensor : read.tensors())
        all[tensor.name] = {tensor, Bytes(read.bytes(tensor).begin(), read.bytes(tensor).end())};
    }
    change(all);
    std::vector<formats::TensorSpec> specs;
    for (const auto& [name, stored] : all) specs.push_back({name, stored.first.dtype, stored.first.shape});
    formats::SafetensorsWriter writer(made / "model.safetensors", specs);
    for (const auto& [name, stored] : all) writer.write(name, stored.second);
    writer.finish();
  };
}
Damage without(const std::string& name) {
  return rewrite([name](auto& all) { all.erase(name); });
}
Damage with_another_head() {
  return rewrite([](auto& all) {
    auto head = all.at("model.embed_tokens.weight");
    head.second[5] ^= std::byte{0x40};
    all["lm_head.weight"] = head;
  });
}
void swap_shards(const fs::path& made) {
  std::vector<fs::path> shards;
  for (const auto& entry : fs::directory_iterator(made))
    if (entry.path().extension() == ".safetensors") shards.push_back(entry.path());
  ASSERT_GE(shards.size(), 2U);
  std::sort(shards.begin(), shards.end());
  fs::rename(shards[0], made / "aside");
  fs::rename(shards[1], shards[0]);
  fs::rename(made / "aside", shards[1]);
}
// Two tensors of one shape, in each other's place.
Damage swap_tensors(const std::string& a, const std::string& b) {
  return rewrite([=](auto& all) { std::swap(all.at(a).second, all.at(b).second); });
}

struct Fault {
  std::string what, source, to, outtype;
  Damage damage;
  std::string named;  // what the message must hold
  uint64_t max_shard_bytes = formats::kDefaultShardBytes;
};

std::vector<Fault> faults() {
  const std::string q = "model.layers.0.self_attn.q_proj.weight",
                    k = "model.layers.1.self_attn.k_proj.weight",
                    o = "model.layers.1.self_attn.o_proj.weight", up = "model.layers.1.mlp.up_proj.weight",
                    down = "model.layers.0.mlp.down_proj.weight",
                    bias = "model.layers.1.self_attn.v_proj.bias";
  std::vector<Fault> all = {
      {"transposed", "plain", "hf", "f32", in(o, transpose), o},
      {"transposed", "plain", "hf", "bf16", in(o, transpose), o},
      {"transposed", "plain", "gguf", "f16", in("blk.1.attn_output.weight", transpose), o},
      {"transposed", "adapter", "hf", "f32", in(o, transpose), o},
      {"q in GGUF's order", "plain", "hf", "f32", in(q, to_gguf_order), q},
      {"k in GGUF's order", "adapter", "hf", "bf16", in(k, to_gguf_order), k},
      {"LoRA scale omitted", "adapter", "hf", "f32", in(down, omit_lora_scale(down)), down},
      {"LoRA scale omitted", "adapter", "gguf", "f32", in("blk.1.ffn_up.weight", omit_lora_scale(up)), up},
      {"swapped shards", "plain", "hf", "f32", swap_shards, "does not place tensor", 400'000},
      {"swapped shards", "adapter", "hf", "f32", swap_shards, "does not place tensor", 400'000},
      {"swapped tensors", "plain", "hf", "f32", swap_tensors(up, "model.layers.1.mlp.gate_proj.weight"),
       "model.layers.1.mlp.gate_proj.weight"},
      {"dropped bias", "plain", "hf", "f32", without(bias), bias + " is missing"},
      {"dropped bias", "adapter", "hf", "f32", without(bias), bias + " is missing"},
      {"zeroed bias", "plain", "gguf", "f16", in("blk.1.attn_v.bias", zero), bias},
      {"another head than the tied one", "tied", "hf", "f32", with_another_head(), "lm_head.weight"},
      {"the embedding as head", "plain", "hf", "f32",
       rewrite([](auto& t) { t.at("lm_head.weight").second = t.at("model.embed_tokens.weight").second; }),
       "lm_head.weight"},
      {"one bit", "plain", "hf", "f32", in("model.norm.weight", flip_lowest_bit), "model.norm.weight"},
      {"one bit", "tied", "gguf", "q4_k_m", in("token_embd.weight", flip_lowest_bit),
       "model.embed_tokens.weight"},
  };
  for (const char* source : {"plain", "adapter"}) {
    for (const char* type : {"f16", "q8_0", "q4_k_m", "q4_0"}) {
      all.push_back({"q in HF's order", source, "gguf", type, in("blk.0.attn_q.weight", to_hf_order), q});
      all.push_back({"k in HF's order", source, "gguf", type, in("blk.1.attn_k.weight", to_hf_order), k});
    }
    for (const char* type : {"q8_0", "q4_0"})
      all.push_back({"missing scale", source, "gguf", type, in("blk.1.ffn_up.weight", drop_scale), up});
    all.push_back({"missing scale", source, "gguf", "q4_k_s", in("blk.1.ffn_up.weight", drop_scale), up});
  }
  return all;
}

class ExportFaults : public testing::Test {
 protected:
  ~ExportFaults() override { fs::remove_all(folder_); }

  ExportArguments arguments(const Fault& fault) const {
    ExportArguments made;
    made.source = (ExportSources::folder() / fault.source).string();
    made.destination = (folder_ / (fault.to == "gguf" ? "made.gguf" : "made")).string();
    made.to = fault.to;
    made.outtype = fault.outtype;
    made.max_shard_bytes = fault.max_shard_bytes;
    return made;
  }
  static core::Config config() {
    return core::Config::defaults({"model.path=" + (ExportSources::folder() / "plain").string(),
                                   "model.tokenizer=" + (ExportSources::folder() / "plain").string()});
  }
  std::string message_of(const Fault& fault, const Damage& damage, int num_ranks = 1) const {
    fs::remove_all(folder_);
    fs::create_directories(folder_);
    try {
      comm::run_ranks(num_ranks, [&](comm::Communicator& group) {
        export_model(arguments(fault), config(), group, damage);
      });
    } catch (const core::Error& error) {
      return error.what();
    }
    return "";
  }
  /// Contents of all files that the export left, by name.
  std::map<std::string, std::string> left() const {
    std::map<std::string, std::string> files;
    for (const auto& entry : fs::recursive_directory_iterator(folder_))
      if (entry.is_regular_file())
        files[fs::relative(entry.path(), folder_).string()] = core::read_file(entry.path().string(), 1 << 30);
    return files;
  }

  const fs::path folder_ =
      fs::temp_directory_path() / ("phalanx_export_faults_made_" + std::to_string(getpid()));
};

TEST_F(ExportFaults, AreCaughtNamedAndLeaveNothing) {
  for (const Fault& fault : faults()) {
    SCOPED_TRACE(fault.what + ": " + fault.source + " to " + fault.to + " " + fault.outtype);
    const std::string message = message_of(fault, fault.damage);
    EXPECT_NE(message.find(fault.named), std::string::npos) << message;
    EXPECT_TRUE(fs::is_empty(folder_)) << fs::directory_iterator(folder_)->path();
  }
}

TEST_F(ExportFaults, OnSeveralRanksTheFirstWrongTensorIsNamed) {
  const std::string first = "model.layers.0.mlp.down_proj.weight",
                    second = "model.layers.1.mlp.up_proj.weight";
  const Fault fault{"two bits",
                    "plain",
                    "hf",
                    "f32",
                    [&](const fs::path& made) {
                      edit_tensor(made, second, flip_lowest_bit);
                      edit_tensor(made, first, flip_lowest_bit);
                    },
                    first};
  const std::string message = message_of(fault, fault.damage, 3);
  EXPECT_NE(message.find(first), std::string::npos) << message;
  EXPECT_TRUE(fs::is_empty(folder_));
}

TEST_F(ExportFaults, WithoutOneTheExportIsTheSameBytesOnAnyNumberOfRanks) {
  const std::vector<Fault> exports = {{"", "plain", "hf", "bf16", {}, "", 200'000},
                                      {"", "adapter", "hf", "f32", {}, "", 200'000},
                                      {"", "tied", "gguf", "q4_k_m", {}, ""},
                                      {"", "adapter", "gguf", "q8_0", {}, ""}};
  for (const Fault& each : exports) {
    std::map<std::string, std::string> alone;
    for (const int num_ranks : {1, 2, 3}) {
      SCOPED_TRACE(each.source + " to " + each.to + " over " + std::to_string(num_ranks));
      ASSERT_EQ(message_of(each, {}, num_ranks), "");
      std::map<std::string, std::string> made = left();
      const std::string record = each.to == "gguf" ? "made.gguf.verification.json" : "made/verification.json";
      ASSERT_TRUE(made.contains(record));
      EXPECT_EQ(nlohmann::json::parse(made[record])["equals_rounded_source"], true);
      made.erase(record);  // sums of log-probabilities in another order
      if (num_ranks == 1) alone = made;
      EXPECT_TRUE(made == alone);
      EXPECT_EQ(made.contains("made/model.safetensors.index.json"), each.to == "hf");
    }
  }
}

}  // namespace
}  // namespace phalanx::launch
