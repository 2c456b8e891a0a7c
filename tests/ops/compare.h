#pragma once
#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <functional>
#include <vector>

/// Compares an operation with a plain formula in fp64, forward and gradients, at the tolerances of each
/// dtype.
namespace phalanx::ops::test {

using Tensors = std::vector<at::Tensor>;
using Operation = std::function<at::Tensor(const Tensors&)>;

struct Tolerance {
  double relative, absolute;
};
inline Tolerance tolerance(at::ScalarType type) {
  if (type == at::kDouble) return {1e-12, 1e-12};
  if (type == at::kFloat) return {1.3e-6, 1e-5};
  return {1.6e-2, 1e-2};
}

/// |actual - expected| <= absolute * scale + relative * |expected|, scale = largest |expected| or 1.
inline void expect_near(const at::Tensor& actual, const at::Tensor& expected, Tolerance t, const char* what) {
  ASSERT_EQ(actual.sizes(), expected.sizes()) << what;
  if (actual.numel() == 0) return;
  const at::Tensor a = actual.detach().to(at::kDouble), e = expected.detach().to(at::kDouble);
  ASSERT_TRUE(at::isfinite(a).all().item<bool>()) << what << " has a NaN or infinity";
  const double scale = std::max(1.0, e.abs().max().item<double>());
  const at::Tensor excess = (a - e).abs() - t.relative * e.abs() - t.absolute * scale;
  EXPECT_LE(excess.max().item<double>(), 0.0)
      << what << ": largest difference " << (a - e).abs().max().item<double>();
}

inline Tensors leaves(const Tensors& inputs, at::ScalarType type) {
  Tensors result;
  for (const at::Tensor& t : inputs) result.push_back(t.detach().to(type).clone().requires_grad_());
  return result;
}

/// `inputs` are rounded to `type` first, so that both sides see the same numbers.
inline void expect_same(const Operation& operation, const Operation& formula, const Tensors& inputs,
                        at::ScalarType type) {
  const Tensors ours = leaves(inputs, type), plain = leaves(ours, at::kDouble);
  const at::Tensor y = operation(ours), expected = formula(plain);
  expect_near(y, expected, tolerance(type), "forward");
  at::manual_seed(7);
  const at::Tensor seed = at::randn(expected.sizes()).to(type);
  const Tensors grads = torch::autograd::grad({y}, ours, {seed.to(y.scalar_type())});
  const Tensors wanted = torch::autograd::grad({expected}, plain, {seed.to(at::kDouble)});
  for (size_t i = 0; i < ours.size(); ++i)
    expect_near(grads[i], wanted[i], tolerance(type), ("gradient of input " + std::to_string(i)).c_str());
}

inline void expect_same_in_all_dtypes(const Operation& operation, const Operation& formula,
                                      const Tensors& inputs) {
  for (const at::ScalarType type : {at::kDouble, at::kFloat, at::kBFloat16}) {
    SCOPED_TRACE(toString(type));
    expect_same(operation, formula, inputs, type);
  }
}

/// Central differences in fp64.
inline void gradcheck(const Operation& operation, const Tensors& inputs, double limit = 1e-6) {
  const Tensors x = leaves(inputs, at::kDouble);
  at::manual_seed(8);
  const at::Tensor y = operation(x), seed = at::randn_like(y);
  const Tensors grads = torch::autograd::grad({y}, x, {seed});
  at::NoGradGuard no_grad;
  constexpr double kStep = 1e-5;
  for (size_t i = 0; i < x.size(); ++i) {
    at::Tensor flat = x[i].view(-1), numeric = at::empty_like(flat);
    for (int64_t j = 0; j < flat.numel(); ++j) {
      const double old = flat[j].item<double>();
      flat[j] = old + kStep;
      const double up = (operation(x) * seed).sum().item<double>();
      flat[j] = old - kStep;
      const double down = (operation(x) * seed).sum().item<double>();
      flat[j] = old;
      numeric[j] = (up - down) / (2 * kStep);
    }
    expect_near(grads[i].reshape(-1), numeric, {limit, limit},
                ("central difference of input " + std::to_string(i)).c_str());
  }
}

}  // namespace phalanx::ops::test
