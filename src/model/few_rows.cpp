#include "model/few_rows.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <vector>

#include "model/wide.h"
#include "ops/batch_invariant.h"
#include "ops/tile_product.h"
#include "ops/training_forward.h"

namespace phalanx::model {
namespace {

constexpr int64_t kMaxRows = 16;
constexpr int kWeightRows = 4;  // rows of W that share one load of x

struct Product {
  const float* x;  // staged: [N][steps * kStep]
  const void* weight;
  int64_t num_rows, in_features, out_features;
  float* y;  // [N][out_features]
};

// kX rows of x against kW rows of W; one accumulator pair each.
template <typename T, int kX, int kW>
[[gnu::always_inline]] inline void tile(const Product& p, int64_t x_row, int64_t w_row) {
  const int64_t steps = p.in_features / wide::kStep, tail = p.in_features % wide::kStep;
  const int64_t x_stride = wide::num_steps(p.in_features) * wide::kStep;
  const float* x = p.x + x_row * x_stride;
  const T* w = static_cast<const T*>(p.weight) + w_row * p.in_features;
  wide::Floats first[kX][kW] = {}, second[kX][kW] = {};
  const auto accumulate = [&](int64_t step, const auto& load) __attribute__((always_inline)) {
    // Unrolled whole, or the accumulators live in memory and not in registers.
    wide::Pair xs[kX];
#pragma GCC unroll 8
    for (int i = 0; i < kX; ++i) xs[i] = wide::load(x + i * x_stride + step * wide::kStep);
#pragma GCC unroll 8
    for (int j = 0; j < kW; ++j) {
      const wide::Pair ws = load(w + j * p.in_features + step * wide::kStep);
#pragma GCC unroll 8
      for (int i = 0; i < kX; ++i) {
        first[i][j] += xs[i].first * ws.first;
        second[i][j] += xs[i].second * ws.second;
      }
    }
  };
  for (int64_t s = 0; s < steps; ++s) {
    accumulate(
        s, [](const T* at) __attribute__((always_inline)) { return wide::load(at); });
  }
  if (tail > 0) {
    accumulate(
        steps, [&](const T* at) __attribute__((always_inline)) { return wide::load_tail(at, tail); });
  }
#pragma GCC unroll 8
  for (int i = 0; i < kX; ++i) {
#pragma GCC unroll 8
    for (int j = 0; j < kW; ++j) {
      p.y[(x_row + i) * p.out_features + w_row + j] = wide::sum(first[i][j] + second[i][j]);
    }
  }
}

template <typename T, int kW>
[[gnu::always_inline]] inline void weight_block(const Product& p, int64_t w_row) {
  int64_t x_row = 0;
  // Two at a time: 2 x 4 pairs of accumulators are what the 32 registers hold.
  for (; x_row + 2 <= p.num_rows; x_row += 2) tile<T, 2, kW>(p, x_row, w_row);
  if (x_row < p.num_rows) tile<T, 1, kW>(p, x_row, w_row);
}

template <typename T>
[[gnu::always_inline]] inline void product_body(const Product& p, int64_t begin, int64_t end) {
  int64_t row = begin;
  for (; row + kWeightRows <= end; row += kWeightRows) weight_block<T, kWeightRows>(p, row);
  for (; row < end; ++row) weight_block<T, 1>(p, row);
}
PHALANX_DISPATCH(product, product_body, (const Product& p, int64_t begin, int64_t end), (p, begin, end))

// x in fp32 in the lane order of wide::load, rows padded with zeros to whole steps.
template <typename T>
[[gnu::always_inline]] inline void stage_body(const T* x, int64_t num_rows, int64_t in, float* out) {
  const int64_t stride = wide::num_steps(in) * wide::kStep;
  for (int64_t row = 0; row < num_rows; ++row) {
    for (int64_t i = 0; i < in; i += wide::kStep) {
      const int64_t count = std::min(wide::kStep, in - i);
      const T* source = x + row * in + i;
      const wide::Pair pair = count == wide::kStep ? wide::load(source) : wide::load_tail(source, count);
      std::memcpy(out + row * stride + i, &pair, sizeof(pair));
    }
  }
}
PHALANX_DISPATCH(stage, stage_body, (const T* x, int64_t num_rows, int64_t in, float* out),
                 (x, num_rows, in, out))

template <typename T>
void run(const at::Tensor& x, const at::Tensor& weight, float* y) {
  const int64_t n = x.size(0), in = x.size(1), out = weight.size(0);
  static thread_local std::vector<float> staged;
  staged.resize(n * wide::num_steps(in) * wide::kStep);
  stage<T>(x.const_data_ptr<T>(), n, in, staged.data());
  const Product p{staged.data(), weight.const_data_ptr<T>(), n, in, out, y};
  const int64_t grain = std::max<int64_t>(kWeightRows, (int64_t{1} << 15) / in);  // 64 kB of bf16 weight
  at::parallel_for(0, out, grain, [&](int64_t begin, int64_t end) { product<T>(p, begin, end); });
}

}  // namespace

bool few_rows_applies(const at::Tensor& x, const at::Tensor& weight) {
  return !at::GradMode::is_enabled() && !ops::TrainingForward::is_active() &&
         !ops::BatchInvariant::is_active() && x.size(0) <= kMaxRows && weight.is_cpu() &&
         weight.is_contiguous() && x.scalar_type() == weight.scalar_type() &&
         (weight.scalar_type() == at::kBFloat16 || weight.scalar_type() == at::kFloat);
}

at::Tensor few_rows_linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                           at::ScalarType out_dtype) {
  TORCH_CHECK(x.size(1) == weight.size(1), "few_rows_linear: x has ", x.size(1), " columns, weight ",
              weight.size(1));
  if (ops::few_rows_fit_tiles(x, weight)) {
    at::Tensor y = ops::tile_product_nt(x, weight, bias.defined() ? at::kFloat : out_dtype);
    return bias.defined() ? y.add_(bias).to(out_dtype) : y;
  }
  at::Tensor y = at::empty({x.size(0), weight.size(0)}, at::kFloat);
  if (weight.scalar_type() == at::kBFloat16) {
    run<at::BFloat16>(x.contiguous(), weight, y.mutable_data_ptr<float>());
  } else {
    run<float>(x.contiguous(), weight, y.mutable_data_ptr<float>());
  }
  if (bias.defined()) y.add_(bias);
  return out_dtype == at::kFloat ? y : y.to(out_dtype);
}

}  // namespace phalanx::model
