// Loading a model from safetensors against `cat FILE > /dev/null`, from a warm page cache; bytes are those of
// the file. Run with --benchmark_enable_random_interleaving=true --benchmark_repetitions=9
// (scripts/bench_load.sh).
#include <benchmark/benchmark.h>
#include <fcntl.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>

#include "formats/hf_weights.h"
#include "model/load.h"
#include "ops/cpu/allocator.h"

namespace {

using namespace phalanx;
namespace fs = std::filesystem;

/// A Llama of 0.5 GB: random bf16 weights under the names and sizes of 14 layers, removed at the end.
class StoredModel {
 public:
  static const fs::path& folder() {
    static const StoredModel model;
    return model.folder_;
  }
  static fs::path file() { return folder() / "model.safetensors"; }
  ~StoredModel() { fs::remove_all(folder_); }

 private:
  StoredModel() {
    fs::create_directories(folder_);
    std::ofstream(folder_ / "config.json")
        << R"({"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 1280,
              "intermediate_size": 3456, "num_hidden_layers": 14, "num_attention_heads": 20, "num_key_value_heads": 10,
              "vocab_size": 4096, "max_position_embeddings": 512, "rms_norm_eps": 1e-5, "hidden_act": "silu",
              "tie_word_embeddings": true})";
    std::vector<formats::TensorSpec> specs;
    const auto add = [&](const std::string& name, std::vector<int64_t> shape) {
      specs.push_back({name + ".weight", core::DType::kBF16, std::move(shape)});
    };
    add("model.embed_tokens", {4096, 1280});
    add("model.norm", {1280});
    for (int i = 0; i < 14; ++i) {
      const std::string layer = "model.layers." + std::to_string(i) + ".";
      add(layer + "input_layernorm", {1280});
      add(layer + "post_attention_layernorm", {1280});
      add(layer + "self_attn.q_proj", {1280, 1280});
      add(layer + "self_attn.k_proj", {640, 1280});
      add(layer + "self_attn.v_proj", {640, 1280});
      add(layer + "self_attn.o_proj", {1280, 1280});
      add(layer + "mlp.gate_proj", {3456, 1280});
      add(layer + "mlp.up_proj", {3456, 1280});
      add(layer + "mlp.down_proj", {1280, 3456});
    }
    formats::SafetensorsWriter writer(folder_ / "model.safetensors", specs);
    std::mt19937 random(1);
    for (const formats::TensorSpec& spec : specs) {
      std::vector<uint16_t> values(formats::count_elements(spec.shape).value());
      for (uint16_t& value : values) value = static_cast<uint16_t>((random() & 0x807F) | 0x3C80);
      writer.write(spec.name, std::as_bytes(std::span(values)));
    }
    writer.finish();
  }
  const fs::path folder_ = fs::temp_directory_path() / ("phalanx_load_bench_" + std::to_string(getpid()));
};

void count_bytes_of(benchmark::State& state) {
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(fs::file_size(StoredModel::file())));
}

/// The next reader finds nothing of the file in the page cache (it was synced when it was written).
void drop_from_cache(benchmark::State& state) {
  state.PauseTiming();
  const int fd = ::open(StoredModel::file().c_str(), O_RDONLY);
  if (fd < 0 || ::posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED) != 0) state.SkipWithError("cannot be dropped");
  ::close(fd);
  state.ResumeTiming();
}

void cat(benchmark::State& state, bool is_cold) {
  const std::string command = "cat " + StoredModel::file().string() + " > /dev/null";
  for (auto _ : state) {
    if (is_cold) drop_from_cache(state);
    if (std::system(command.c_str()) != 0) state.SkipWithError("cat failed");
  }
  count_bytes_of(state);
}

// Names, shapes and every value checked; the weights lie in memory of their own at the end.
void load(benchmark::State& state, bool is_cold, at::ScalarType dtype) {
  static const bool has_arena = ops::cpu::use_tensor_arena();  // as the program does
  benchmark::DoNotOptimize(has_arena);
  for (auto _ : state) {
    if (is_cold) drop_from_cache(state);
    benchmark::DoNotOptimize(model::load_model(StoredModel::folder(), dtype));
  }
  count_bytes_of(state);
}

BENCHMARK_CAPTURE(cat, warm, false)->UseRealTime()->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(load, warm_bf16, false, at::kBFloat16)->UseRealTime()->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(load, warm_fp32, false, at::kFloat)->UseRealTime()->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(cat, cold, true)->UseRealTime()->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(load, cold_bf16, true, at::kBFloat16)->UseRealTime()->Unit(benchmark::kMillisecond);

}  // namespace
