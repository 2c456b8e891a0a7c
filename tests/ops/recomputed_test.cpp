#include "ops/recomputed.h"

#include "ops/compare.h"
#include "ops/ops.h"

namespace phalanx::ops {
namespace {

using test::Tensors;

at::Tensor random(at::IntArrayRef sizes) {
  return at::randn(sizes).to(at::kBFloat16).requires_grad_();
}

void expect_same_bits(const Tensors& a, const Tensors& b) {
  for (size_t i = 0; i < a.size(); ++i) EXPECT_TRUE(at::equal(a[i], b[i])) << "gradient " << i;
}

TEST(RecomputedInputs, GiveTheGradientsOfSavedOnesToTheBit) {
  at::manual_seed(1);
  const Tensors in = {random({20, 48}), random({20, 48}), random({32, 48}), random({4, 48}), random({32, 4})};
  const at::Tensor frozen = in[2].detach();
  const auto gradients = [&](const auto& pass) {
    const at::Tensor plain = ops::linear(pass(ops::swiglu(in[0], in[1])), in[2]);
    const at::Tensor adapted = ops::lora_linear(pass(ops::swiglu(in[0], in[1])), frozen, in[3], in[4], 2.0);
    return torch::autograd::grad({(plain + adapted).sum()}, in);
  };
  expect_same_bits(gradients([](const at::Tensor& y) { return y; }),
                   gradients([](const at::Tensor& y) { return y.clone(); }));  // a copy has no recipe
}

TEST(RecomputedInputs, AreSharedByTheirUsersAndSurviveASecondBackward) {
  at::manual_seed(2);
  const Tensors in = {random({20, 48}), random({20, 48}), random({48}), random({16, 48}), random({8, 48})};
  const auto loss = [&](const auto& pass) {
    const auto [norm, sum] = ops::add_rms_norm(in[0], in[1], in[2], 1e-5);
    const at::Tensor x = pass(norm);
    return ops::linear(x, in[3]).sum() + ops::linear(x, in[4]).square().sum() + sum.sum();
  };
  const at::Tensor ours = loss([](const at::Tensor& y) { return y; });
  const Tensors once = torch::autograd::grad({ours}, in, {}, /*retain_graph=*/true);
  const Tensors twice = torch::autograd::grad({ours}, in);
  expect_same_bits(once, twice);
  expect_same_bits(once, torch::autograd::grad({loss([](const at::Tensor& y) { return y.clone(); })}, in));
}

TEST(RecomputedInputs, AreNotHeldUntilTheBackward) {
  const Tensors in = {random({20, 48}), random({48}), random({16, 48})};
  at::Tensor y = rms_norm(in[0], in[1], 1e-5);
  const c10::weak_intrusive_ptr<c10::TensorImpl> watched(y.getIntrusivePtr());
  const at::Tensor out = ops::linear(y, in[2]);
  y.reset();
  EXPECT_TRUE(watched.expired());
  EXPECT_NO_THROW(torch::autograd::grad({out.sum()}, in));
}

}  // namespace
}  // namespace phalanx::ops
