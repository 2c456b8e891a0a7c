// Encoding of fp32 values as the block types of GGUF, on all cores; items are values.
#include <benchmark/benchmark.h>

#include <cmath>
#include <random>
#include <vector>

#include "formats/tensor_file.h"

namespace {

using namespace phalanx;

constexpr int64_t kRows = 4096, kColumns = 4096;

std::vector<float> normal_values(int64_t count, float deviation) {
  std::mt19937 generator(1);
  std::normal_distribution<float> normal(0, deviation);
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) value = normal(generator);
  return values;
}

void encode(benchmark::State& state, core::DType dtype, bool weighed) {
  static const std::vector<float> values = normal_values(kRows * kColumns, 0.02f);
  std::vector<float> importance = normal_values(weighed ? kColumns : 0, 1);
  for (float& value : importance) value = std::exp(value);
  std::vector<std::byte> out(values.size() / static_cast<size_t>(core::block_elements(dtype)) *
                             static_cast<size_t>(core::block_bytes(dtype)));
  for (auto _ : state)
    formats::from_float(dtype, values.data(), static_cast<int64_t>(values.size()), out.data(), importance);
  state.SetItemsProcessed(state.iterations() * static_cast<int64_t>(values.size()));
}

using enum core::DType;
BENCHMARK_CAPTURE(encode, Q4_K, kQ4_K, false)->UseRealTime()->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(encode, Q4_K_importance, kQ4_K, true)->UseRealTime()->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(encode, Q5_K, kQ5_K, false)->UseRealTime()->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(encode, Q6_K, kQ6_K, false)->UseRealTime()->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(encode, Q8_0, kQ8_0, false)->UseRealTime()->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(encode, Q5_1, kQ5_1, false)->UseRealTime()->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(encode, Q5_0, kQ5_0, false)->UseRealTime()->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(encode, Q4_1, kQ4_1, false)->UseRealTime()->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(encode, Q4_0, kQ4_0, false)->UseRealTime()->Unit(benchmark::kMillisecond);

}  // namespace
