#include "ops/split_weights.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

namespace phalanx::ops {
namespace {

constexpr int64_t kLowerMask = 0xffff, kTopOfLower = 0x8000;
constexpr int64_t kBlock = 1 << 20;  // elements at a time: the 64-bit patterns in between stay small

void check(const at::Tensor& upper, const at::Tensor& lower) {
  TORCH_CHECK(upper.scalar_type() == at::kBFloat16 && lower.scalar_type() == at::kShort &&
                  upper.is_contiguous() && lower.is_contiguous() && upper.numel() == lower.numel(),
              "split weights: upper must be bf16 and lower int16, contiguous and of one length, not ",
              upper.scalar_type(), " ", upper.sizes(), " and ", lower.scalar_type(), " ", lower.sizes());
}

at::Tensor joined(const at::Tensor& upper, const at::Tensor& lower) {
  const at::Tensor low = lower.to(at::kInt).bitwise_and(kLowerMask);
  const at::Tensor rounded_up = low.bitwise_and(kTopOfLower).bitwise_left_shift(1);
  return upper.view(at::kShort)
      .to(at::kInt)
      .bitwise_left_shift(16)
      .sub_(rounded_up)
      .add_(low)
      .view(at::kFloat);
}

void split(const at::Tensor& weights, at::Tensor upper, at::Tensor lower) {
  const at::Tensor bits = weights.to(at::kFloat).view(at::kInt);
  const at::Tensor nan = weights.isnan();
  // int16 of an int32 takes the lower bits; the sum may wrap around, as the unsigned one of the kernels does.
  lower.copy_(bits.to(at::kShort).masked_fill(nan, 0));
  const at::Tensor high = bits.add(kTopOfLower).bitwise_right_shift(16).to(at::kShort);
  upper.view(at::kShort).copy_(high.masked_fill(nan, 0x7fc0));
}

}  // namespace

at::Tensor join_halves(const at::Tensor& upper, const at::Tensor& lower) {
  at::NoGradGuard no_grad;
  check(upper, lower);
  at::Tensor weights = at::empty(upper.sizes(), upper.options().dtype(at::kFloat).requires_grad(false));
  const at::Tensor flat = weights.view(-1), high = upper.detach().view(-1), low = lower.view(-1);
  for (int64_t begin = 0; begin < flat.numel(); begin += kBlock) {
    const int64_t count = std::min(kBlock, flat.numel() - begin);
    flat.narrow(0, begin, count).copy_(joined(high.narrow(0, begin, count), low.narrow(0, begin, count)));
  }
  return weights;
}

void split_halves(const at::Tensor& weights, at::Tensor upper, at::Tensor lower) {
  at::NoGradGuard no_grad;
  check(upper, lower);
  TORCH_CHECK(weights.numel() == upper.numel(), "split weights: ", weights.sizes(), " into ", upper.sizes());
  const at::Tensor flat = weights.detach().reshape(-1), high = upper.detach().view(-1), low = lower.view(-1);
  for (int64_t begin = 0; begin < flat.numel(); begin += kBlock) {
    const int64_t count = std::min(kBlock, flat.numel() - begin);
    split(flat.narrow(0, begin, count), high.narrow(0, begin, count), low.narrow(0, begin, count));
  }
}

}  // namespace phalanx::ops
