#pragma once
#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <functional>
#include <string>
#include <vector>

#include "comm/run_ranks.h"
#include "ops/attention.h"
#include "parallel/context_layout.h"

/// Attention of one micro-batch, serial and over the ranks of a context group.
namespace phalanx::parallel::test {

using Tensors = std::vector<at::Tensor>;
using Attention = std::function<at::Tensor(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                           const ContextLayout&, double scale, comm::Communicator&)>;
inline constexpr double kScale = 0.3;

struct Case {
  std::vector<int32_t> cu;
  int64_t heads, kv_heads, dim;
};
inline std::string name(const Case& c, int ranks) {
  std::string text = std::to_string(ranks) + " ranks, samples end at";
  for (size_t s = 1; s < c.cu.size(); ++s) text += " " + std::to_string(c.cu[s]);
  return text + ", heads " + std::to_string(c.heads) + "/" + std::to_string(c.kv_heads);
}

/// Token axes that meet every kind of boundary with 1 to 4 ranks (2 to 8 chunks).
inline const std::vector<std::vector<int32_t>> kAxes = {
    {0, 96},                          // one sample, chunks of equal length
    {0, 101},                         // N not divisible
    {0, 12, 24, 36, 48, 72, 84, 96},  // boundaries on the edges of chunks
    {0, 7, 8, 40, 61, 90, 103},       // and inside them
    {0, 3},                           // N < 2c
    {0, 1, 4},
};

/// {q, k, v, dout} over the whole axis.
inline Tensors random_inputs(const Case& c, at::ScalarType type) {
  auto generator = at::make_generator<at::CPUGeneratorImpl>(11);
  const auto random = [&](int64_t heads) {
    return at::randn({c.cu.back(), heads, c.dim}, generator, at::kDouble).to(type);
  };
  return {random(c.heads), random(c.kv_heads), random(c.kv_heads), random(c.heads)};
}

/// {out, dq, dk, dv}
inline Tensors with_gradients(const Tensors& x, const std::function<at::Tensor(const Tensors&)>& attention) {
  Tensors leaves;
  for (size_t i = 0; i < 3; ++i) leaves.push_back(x[i].detach().clone().requires_grad_());
  const at::Tensor out = attention(leaves);
  Tensors results = torch::autograd::grad({out}, leaves, {x[3]});
  results.insert(results.begin(), out.detach());
  return results;
}

inline Tensors serial(const Case& c, const Tensors& x) {
  return with_gradients(
      x, [&](const Tensors& t) { return ops::varlen_attention(t[0], t[1], t[2], c.cu, kScale); });
}

/// The same over `layout.num_ranks()` ranks, put together again. `sent_bytes`: per rank, forward and
/// backward.
inline Tensors over_ranks(const ContextLayout& layout, const Tensors& x, const Attention& attention,
                          std::vector<int64_t>* sent_bytes = nullptr) {
  const int ranks = layout.num_ranks();
  std::vector<Tensors> parts(4, Tensors(ranks));
  if (sent_bytes) sent_bytes->assign(ranks, 0);
  comm::run_ranks(ranks, [&](comm::Communicator& group) {
    Tensors mine;
    for (const at::Tensor& t : x) mine.push_back(layout.select(t, group.rank()));
    group.reset_traffic();
    const Tensors results = with_gradients(
        mine, [&](const Tensors& t) { return attention(t[0], t[1], t[2], layout, kScale, group); });
    for (size_t i = 0; i < 4; ++i) parts[i][group.rank()] = results[i];
    if (sent_bytes) (*sent_bytes)[group.rank()] = group.traffic().total_bytes();
  });
  Tensors whole;
  for (const Tensors& part : parts) whole.push_back(at::cat(part, 0).index_select(0, layout.gather_order()));
  return whole;
}

/// Largest difference relative to the largest expected value.
inline double difference(const at::Tensor& actual, const at::Tensor& expected) {
  const at::Tensor a = actual.to(at::kDouble), e = expected.to(at::kDouble);
  return (a - e).abs().max().item<double>() / e.abs().max().item<double>();
}

inline const char* const kNames[] = {"out", "dq", "dk", "dv"};

inline void expect_equal(const Tensors& actual, const Tensors& expected, double limit) {
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(actual[i].scalar_type(), expected[i].scalar_type());
    EXPECT_LE(difference(actual[i], expected[i]), limit) << kNames[i];  // false for NaN
  }
}

/// The error of bf16 against the fp64 result of the same inputs may be half as large again as that of the
/// serial bf16 attention, which rounds the same quantities once, and one rounding of the result.
inline void expect_bf16_equal(const Case& c, const Tensors& actual, const Tensors& x) {
  const Tensors rounded = serial(c, x);
  Tensors wide;
  for (const at::Tensor& t : x) wide.push_back(t.to(at::kDouble));
  const Tensors exact = serial(c, wide);
  const double rounding = 1.0 / 512;
  for (size_t i = 0; i < 4; ++i) {
    const double size = exact[i].norm().item<double>();
    const auto error = [&](const at::Tensor& t) {
      return (t.to(at::kDouble) - exact[i]).norm().item<double>();
    };
    EXPECT_LE(error(actual[i]), 1.5 * error(rounded[i]) + rounding * size) << kNames[i];
    EXPECT_LE(difference(actual[i], exact[i]), 8 * rounding) << kNames[i];
  }
}

}  // namespace phalanx::parallel::test
