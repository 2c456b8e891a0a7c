// The operations on the shapes of SmolLM2-135M (B4 T512), each with its share of the peak measured in the
// same run: arithmetic against multiplications in registers, passes over memory against a copy of 512 MiB.
#include <ATen/ATen.h>
#include <benchmark/benchmark.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/autograd.h>

#include <cstdio>

#include "ops/cpu/allocator.h"
#include "ops/matmul.h"
#include "ops/ops.h"
#include "peak.h"

namespace phalanx::bench {
namespace {

constexpr int64_t kTokens = 2048, kHidden = 576, kFeedForward = 1536, kVocab = 49152, kHeads = 9,
                  kKeyHeads = 3, kHeadDim = 64;
Peaks peaks;

at::Tensor random(at::IntArrayRef sizes, at::ScalarType type) {
  return at::randn(sizes).mul_(0.1).to(type);
}

void report_flops(benchmark::State& state, double flops, at::ScalarType type) {
  const double peak = type == at::kBFloat16 ? peaks.bf16_flops : peaks.fp32_flops;
  state.counters["GFLOP/s"] = benchmark::Counter(flops * 1e-9, benchmark::Counter::kIsIterationInvariantRate);
  state.counters["share"] = benchmark::Counter(flops / peak, benchmark::Counter::kIsIterationInvariantRate);
}
void report_bytes(benchmark::State& state, double bytes) {
  state.counters["GB/s"] = benchmark::Counter(bytes * 1e-9, benchmark::Counter::kIsIterationInvariantRate);
  state.counters["share"] =
      benchmark::Counter(bytes / peaks.copied_bytes, benchmark::Counter::kIsIterationInvariantRate);
}

enum class Direction { kForward, kInputGradient, kWeightGradient };

void linear(benchmark::State& state, at::ScalarType type, Direction direction, int64_t rows, int64_t in,
            int64_t out) {
  const at::NoGradGuard no_grad;
  const at::Tensor x = random({rows, in}, type), w = random({out, in}, type), dy = random({rows, out}, type);
  const at::Tensor dw = at::zeros({out, in}, at::kFloat);
  for (auto _ : state) {
    if (direction == Direction::kForward) benchmark::DoNotOptimize(ops::matmul_nt(x, w));
    if (direction == Direction::kInputGradient) benchmark::DoNotOptimize(ops::matmul_nn(dy, w));
    if (direction == Direction::kWeightGradient) ops::matmul_tn_add(dw, dy, x);
  }
  report_flops(state, 2.0 * static_cast<double>(rows * in * out), type);
}

void decode_product(benchmark::State& state, at::ScalarType type, int64_t in, int64_t out) {
  const at::NoGradGuard no_grad;
  const at::Tensor x = random({1, in}, type), w = random({out, in}, type);
  for (auto _ : state) benchmark::DoNotOptimize(ops::matmul_nt(x, w));
  const double bytes = static_cast<double>(w.nbytes());
  state.counters["GB/s"] = benchmark::Counter(bytes * 1e-9, benchmark::Counter::kIsIterationInvariantRate);
  state.counters["share"] =
      benchmark::Counter(bytes / peaks.read_bytes, benchmark::Counter::kIsIterationInvariantRate);
}

void attention(benchmark::State& state, at::ScalarType type, bool backward) {
  const int64_t length = state.range(0);
  std::vector<int32_t> cu;
  for (int64_t at = 0; at <= kTokens; at += length) cu.push_back(static_cast<int32_t>(at));
  const at::Tensor q = random({kTokens, kHeads, kHeadDim}, type).requires_grad_(backward),
                   k = random({kTokens, kKeyHeads, kHeadDim}, type).requires_grad_(backward),
                   v = random({kTokens, kKeyHeads, kHeadDim}, type).requires_grad_(backward);
  const at::Tensor dy = random(q.sizes(), type);
  for (auto _ : state) {
    const at::Tensor y = ops::varlen_attention(q, k, v, cu, 0.125);
    if (backward) benchmark::DoNotOptimize(torch::autograd::grad({y}, {q, k, v}, {dy}));
    benchmark::DoNotOptimize(y);
  }
  // Causal: half of 4 T^2 H d forward, and 2.5 times as much backward.
  const double forward = 2.0 * static_cast<double>(length * kTokens * kHeads * kHeadDim);
  report_flops(state, backward ? 3.5 * forward : forward, type);
}

void cross_entropy(benchmark::State& state, at::ScalarType type) {
  const at::Tensor x = random({kTokens, kHidden}, type).requires_grad_(),
                   w = random({kVocab, kHidden}, type).requires_grad_();
  const at::Tensor labels = at::randint(kVocab, {kTokens}, at::kLong);
  for (auto _ : state) {
    ops::linear_cross_entropy(x, w, labels, 1.0 / kTokens).mul(1.0 / kTokens).backward();
    x.mutable_grad().reset(), w.mutable_grad().reset();
  }
  report_flops(state, 6.0 * static_cast<double>(kTokens * kHidden * kVocab), type);
}

// Forward and backward of an operation on rows; `bytes` are those that it must read and write.
template <typename Operation>
void rows(benchmark::State& state, at::ScalarType type, std::vector<at::Tensor> inputs, double passes,
          const Operation& operation) {
  const at::Tensor dy = random(inputs[0].sizes(), type);
  for (at::Tensor& input : inputs) input = input.detach().requires_grad_();
  for (auto _ : state) benchmark::DoNotOptimize(torch::autograd::grad({operation(inputs)}, inputs, {dy}));
  report_bytes(state, passes * static_cast<double>(inputs[0].nbytes()));
}
void rms_norm(benchmark::State& state, at::ScalarType type) {  // x in, y out; dy, x in, dx out
  rows(state, type, {random({kTokens, kHidden}, type), random({kHidden}, type)}, 5,
       [](const auto& t) { return ops::rms_norm(t[0], t[1], 1e-5); });
}
void rope(benchmark::State& state, at::ScalarType type) {
  const auto [cos, sin] = ops::rope_rows(at::arange(kTokens), at::ones({kHeadDim / 2}), type);
  rows(state, type, {random({kTokens, kHeads, kHeadDim}, type)}, 4,
       [&](const auto& t) { return ops::rope(t[0], cos, sin); });
}
void swiglu(benchmark::State& state,
            at::ScalarType type) {  // gate, up in, y out; dy, gate, up in, dgate, dup out
  rows(state, type, {random({kTokens, kFeedForward}, type), random({kTokens, kFeedForward}, type)}, 8,
       [](const auto& t) { return ops::swiglu(t[0], t[1]); });
}

void adamw(benchmark::State& state) {
  const int64_t count = 20'000'000;
  const at::Tensor upper = at::randn({count}, at::kBFloat16), lower = at::zeros({count}, at::kShort);
  const at::Tensor g = at::randn({count}), m = at::zeros({count}), v = at::zeros({count});
  int64_t step = 0;
  for (auto _ : state) ops::adamw_(upper, g, m, v, {1e-4, 0.9, 0.95, 1e-8, 0.1}, ++step, 1.0, lower);
  report_bytes(state, 28.0 * static_cast<double>(count));
}

template <typename... Arguments>
void add(const std::string& name, const Arguments&... arguments) {
  benchmark::RegisterBenchmark(name.c_str(), arguments...)
      ->UseRealTime()
      ->MinWarmUpTime(0.1)
      ->Unit(benchmark::kMillisecond);
}

void add_all() {
  struct Shape {
    const char* name;
    int64_t in, out;
  };
  for (const auto& [type, dtype] : {std::pair{at::kFloat, "fp32"}, {at::kBFloat16, "bf16"}}) {
    for (const Shape& s : {Shape{"q_proj", kHidden, kHidden},
                           {"gate_proj", kHidden, kFeedForward},
                           {"down_proj", kFeedForward, kHidden}}) {
      const std::string name = std::string("linear/") + dtype + "/" + s.name;
      add(name + "/forward", linear, type, Direction::kForward, kTokens, s.in, s.out);
      add(name + "/input_gradient", linear, type, Direction::kInputGradient, kTokens, s.in, s.out);
      add(name + "/weight_gradient", linear, type, Direction::kWeightGradient, kTokens, s.in, s.out);
    }
    add(std::string("linear/") + dtype + "/lora_a/forward", linear, type, Direction::kForward, kTokens,
        kHidden, int64_t{16});
    add(std::string("linear/") + dtype + "/decode_head", decode_product, type, kHidden, kVocab);
    add(std::string("cross_entropy/") + dtype, cross_entropy, type);
    add(std::string("rms_norm/") + dtype, rms_norm, type);
    add(std::string("rope/") + dtype, rope, type);
    add(std::string("swiglu/") + dtype, swiglu, type);
    for (const bool backward : {false, true}) {
      const std::string name = std::string("attention/") + dtype + (backward ? "/both" : "/forward");
      benchmark::RegisterBenchmark(name.c_str(), attention, type, backward)
          ->Arg(512)
          ->Arg(2048)
          ->UseRealTime()
          ->Unit(benchmark::kMillisecond);
    }
  }
  add("adamw", adamw);
}

}  // namespace
}  // namespace phalanx::bench

int main(int argc, char** argv) {
  using namespace phalanx::bench;
  phalanx::ops::cpu::use_tensor_arena();
  add_all();
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  peaks = measure_peaks();
  std::printf(
      "peaks of %d thread(s): fp32 %.0f GFLOP/s, bf16 %.0f GFLOP/s, read %.1f GB/s, copy %.1f GB/s (read + "
      "written)\n",
      at::get_num_threads(), peaks.fp32_flops * 1e-9, peaks.bf16_flops * 1e-9, peaks.read_bytes * 1e-9,
      peaks.copied_bytes * 1e-9);
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
