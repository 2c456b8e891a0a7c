#include "ops/grouped_linear.h"

#include <c10/core/GradMode.h>

#include "ops/compare.h"
#include "ops/grad_sink.h"
#include "ops/linear.h"
#include "ops/swiglu.h"

namespace phalanx::ops {
namespace {

using test::Tensors;

const std::vector<int64_t> kOffsets = {0, 21, 21, 24, 60};  // many rows, none, fewer than a vector, many

struct GroupedCase {
  at::Tensor x;
  Tensors weights;
  Tensors all() const {
    Tensors tensors = {x};
    tensors.insert(tensors.end(), weights.begin(), weights.end());
    return tensors;
  }
};

GroupedCase make_case(at::ScalarType type, int64_t in = 50, int64_t out = 35) {
  at::manual_seed(1);
  GroupedCase c{at::randn({kOffsets.back(), in}).to(type).requires_grad_(), {}};
  for (size_t e = 0; e + 1 < kOffsets.size(); ++e) {
    c.weights.push_back((at::randn({out, in}) / 7).to(type).requires_grad_());
  }
  return c;
}

at::Tensor loop_of_linears(const at::Tensor& x, const Tensors& weights) {
  Tensors parts;
  for (size_t e = 0; e < weights.size(); ++e) {
    parts.push_back(ops::linear(x.slice(0, kOffsets[e], kOffsets[e + 1]), weights[e]));
  }
  return at::cat(parts);
}

struct ExpertSink : GradSink {
  explicit ExpertSink(const at::Tensor& like)
      : buffer(at::zeros(like.sizes(), like.scalar_type() == at::kDouble ? at::kDouble : at::kFloat)) {}
  at::Tensor main_grad() override { return buffer; }
  void ready() override { ++times_ready; }
  at::Tensor buffer;
  int times_ready = 0;
};

TEST(GroupedLinear, GivesTheBitsOfALoopOfLinearsForwardAndBackward) {
  for (const at::ScalarType type : {at::kDouble, at::kFloat, at::kBFloat16}) {
    SCOPED_TRACE(toString(type));
    const GroupedCase c = make_case(type);
    const at::Tensor y = grouped_linear(c.x, kOffsets, c.weights), expected = loop_of_linears(c.x, c.weights);
    EXPECT_TRUE(at::equal(y, expected));
    const at::Tensor seed = at::randn(y.sizes()).to(type);
    const Tensors grads = torch::autograd::grad({y}, c.all(), {seed});
    const Tensors wanted = torch::autograd::grad({expected}, c.all(), {seed});
    for (size_t i = 0; i < grads.size(); ++i) EXPECT_TRUE(at::equal(grads[i], wanted[i])) << "input " << i;
    EXPECT_TRUE(at::equal(grads[2], at::zeros_like(grads[2])));  // the expert without rows
    const at::NoGradGuard no_grad;
    EXPECT_TRUE(at::equal(grouped_linear(c.x, kOffsets, c.weights), expected));
  }
}

TEST(GroupedLinear, HasTheGradientOfCentralDifferences) {
  const GroupedCase c = make_case(at::kDouble, 3, 2);
  test::gradcheck(
      [](const Tensors& t) {
        return grouped_linear(t[0], kOffsets, {t.begin() + 1, t.end()});
      },
      c.all());
}

TEST(GroupedLinear, AddsWeightGradientsIntoTheirSinksAndIsDoneWithAnExpertWithoutRows) {
  for (const at::ScalarType type : {at::kDouble, at::kFloat, at::kBFloat16}) {
    SCOPED_TRACE(toString(type));
    const GroupedCase c = make_case(type);
    const at::Tensor plain = loop_of_linears(c.x.detach(), c.weights);
    const Tensors wanted = torch::autograd::grad({plain.sum()}, c.weights);
    std::vector<c10::intrusive_ptr<ExpertSink>> sinks;
    for (const at::Tensor& weight : c.weights) {
      sinks.push_back(c10::make_intrusive<ExpertSink>(weight));
      set_grad_sink(weight, sinks.back());
    }
    grouped_linear(c.x, kOffsets, c.weights).sum().backward();
    for (size_t e = 0; e < sinks.size(); ++e) {
      EXPECT_EQ(sinks[e]->times_ready, 1) << e;
      EXPECT_EQ(sinks[e]->pending(), 0) << e;
      EXPECT_FALSE(c.weights[e].grad().defined()) << e;
      test::expect_near(sinks[e]->buffer, wanted[e], test::tolerance(type), "weight gradient");
    }
  }
}

TEST(GroupedLinear, TakesItsInputFromARecipe) {
  const GroupedCase c = make_case(at::kDouble);
  at::manual_seed(2);
  const at::Tensor up = at::randn(c.x.sizes(), at::kDouble).requires_grad_();
  const at::Tensor y = grouped_linear(swiglu(c.x, up), kOffsets, c.weights);
  const at::Tensor expected = loop_of_linears(at::silu(c.x) * up, c.weights);
  Tensors inputs = c.all();
  inputs.push_back(up);
  const Tensors grads = torch::autograd::grad({y.square().sum()}, inputs);
  const Tensors wanted = torch::autograd::grad({expected.square().sum()}, inputs);
  for (size_t i = 0; i < inputs.size(); ++i)
    test::expect_near(grads[i], wanted[i], test::tolerance(at::kDouble), "gradient");
}

TEST(GroupedLinear, LeavesFrozenWeightsAndWorksWithoutAnyRow) {
  GroupedCase c = make_case(at::kFloat);
  for (at::Tensor& weight : c.weights) weight = weight.detach();
  const at::Tensor gradient =
      torch::autograd::grad({grouped_linear(c.x, kOffsets, c.weights).sum()}, {c.x})[0];
  EXPECT_TRUE(at::isfinite(gradient).all().item<bool>());
  const at::Tensor none = at::empty({0, 50}).requires_grad_();
  const at::Tensor y = grouped_linear(none, {0, 0, 0, 0, 0}, c.weights);
  EXPECT_EQ(y.sizes(), (std::vector<int64_t>{0, 35}));
  EXPECT_EQ(torch::autograd::grad({y.sum()}, {none})[0].sizes(), none.sizes());
}

TEST(GroupedLinear, RefusesOffsetsThatDoNotFit) {
  const GroupedCase c = make_case(at::kFloat);
  EXPECT_THROW(grouped_linear(c.x, {0, 21, 24, 60}, c.weights), c10::Error);
  EXPECT_THROW(grouped_linear(c.x, {0, 21, 20, 24, 60}, c.weights), c10::Error);
  EXPECT_THROW(grouped_linear(c.x, {0, 21, 21, 24, 59}, c.weights), c10::Error);
}

}  // namespace
}  // namespace phalanx::ops
