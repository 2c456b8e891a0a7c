#include "ops/linear.h"

#include <c10/core/GradMode.h>

#include "ops/compare.h"
#include "ops/cpu/isa.h"
#include "ops/grad_sink.h"
#include "ops/matmul.h"

namespace phalanx::ops {
namespace {

using test::Tensors;

struct RecordingSink : GradSink {
  explicit RecordingSink(const at::Tensor& like) : buffer(at::zeros(like.sizes(), at::kFloat)) {}
  at::Tensor main_grad() override { return buffer; }
  void ready() override { ++times_ready; }
  at::Tensor buffer;
  int times_ready = 0;
};

TEST(Linear, EqualsItsFormulaForEveryShape) {
  at::manual_seed(1);
  for (const auto& [n, in, out] :
       {std::tuple{1, 5, 3}, {8, 40, 33}, {9, 16, 16}, {37, 131, 77}, {300, 64, 100}, {4, 1600, 40}}) {
    SCOPED_TRACE(testing::Message() << n << " x " << in << " -> " << out);
    const Tensors inputs = {at::randn({n, in}), at::randn({out, in}) / std::sqrt(in), at::randn({out})};
    test::expect_same_in_all_dtypes([](const Tensors& t) { return ops::linear(t[0], t[1], t[2]); },
                                    [](const Tensors& t) { return at::linear(t[0], t[1], t[2]); }, inputs);
  }
}

TEST(Linear, SplitsALongSumIntoPassesWithoutRoundingBetweenThem) {
  at::manual_seed(2);
  const Tensors inputs = {at::randn({20, 5000}) / 70, at::randn({30, 5000})};
  test::expect_same_in_all_dtypes([](const Tensors& t) { return ops::linear(t[0], t[1]); },
                                  [](const Tensors& t) { return at::linear(t[0], t[1]); }, inputs);
}

TEST(Linear, FallsBackToATenOnLesserMachines) {
  at::manual_seed(3);
  const cpu::IsaOverride pretend(cpu::Isa{.avx2 = cpu::isa().avx2});
  const Tensors inputs = {at::randn({20, 50}), at::randn({30, 50}) / 7};
  test::expect_same_in_all_dtypes([](const Tensors& t) { return ops::linear(t[0], t[1]); },
                                  [](const Tensors& t) { return at::linear(t[0], t[1]); }, inputs);
}

TEST(Linear, GivesTheSameBitsForARowInAnyBatchAboveEightRows) {
  at::manual_seed(4);
  const at::Tensor x = at::randn({50, 96}).to(at::kBFloat16), w = at::randn({70, 96}).to(at::kBFloat16);
  const at::Tensor all = ops::linear(x, w);
  EXPECT_TRUE(at::equal(ops::linear(x.narrow(0, 13, 20), w), all.narrow(0, 13, 20)));
}

TEST(Linear, HasAWeightGradientOfZeroWithoutRows) {
  for (const at::ScalarType type : {at::kDouble, at::kFloat, at::kBFloat16}) {
    const at::Tensor x = at::empty({0, 48}, type).requires_grad_(),
                     w = at::randn({40, 48}).to(type).requires_grad_();
    const Tensors grads = torch::autograd::grad({ops::linear(x, w).sum()}, {x, w});
    EXPECT_EQ(grads[0].sizes(), x.sizes());
    EXPECT_TRUE(at::equal(grads[1], at::zeros_like(w))) << type;
    const auto sink = c10::make_intrusive<RecordingSink>(w);
    if (type == at::kDouble) continue;  // the sink of these tests is fp32
    set_grad_sink(w, sink);
    ops::linear(x, w).sum().backward();
    EXPECT_EQ(sink->times_ready, 1);
    EXPECT_TRUE(at::equal(sink->buffer, at::zeros({40, 48})));
  }
}

TEST(Linear, AddsItsWeightGradientIntoTheSink) {
  at::manual_seed(5);
  at::Tensor x = at::randn({64, 48}).to(at::kBFloat16).requires_grad_();
  at::Tensor w = at::randn({40, 48}).to(at::kBFloat16).requires_grad_();
  at::Tensor b = at::randn({40}).to(at::kBFloat16).requires_grad_();
  const auto sink = c10::make_intrusive<RecordingSink>(w), bias_sink = c10::make_intrusive<RecordingSink>(b);
  set_grad_sink(w, sink);
  set_grad_sink(b, bias_sink);
  ops::linear(x, w, b).sum().backward();
  EXPECT_FALSE(w.grad().defined());
  EXPECT_EQ(sink->times_ready, 1);
  const at::Tensor once = sink->buffer.clone();
  const at::Tensor expected = at::ones({40, 64}, at::kDouble).matmul(x.detach().to(at::kDouble));
  test::expect_near(once, expected, {1e-5, 1e-5}, "fp32 weight gradient");
  test::expect_near(bias_sink->buffer, at::full({40}, 64.0), {1e-6, 0}, "bias gradient");
  ops::linear(x, w, b).sum().backward();
  test::expect_near(sink->buffer, 2 * once, {1e-6, 1e-6}, "second micro-batch");
  EXPECT_EQ(sink->times_ready, 2);
}

TEST(GradSink, IsReadyAfterTheLastOfSeveralUsesAndStaysWithItsTensor) {
  at::Tensor w = at::randn({4, 4}).requires_grad_();
  const auto sink = c10::make_intrusive<RecordingSink>(w);
  set_grad_sink(w, sink);
  EXPECT_EQ(grad_sink(w), sink.get());
  EXPECT_EQ(grad_sink(w.detach()), nullptr);
  EXPECT_EQ(grad_sink(at::Tensor()), nullptr);
  const at::Tensor y = ops::linear(ops::linear(at::randn({9, 4}), w), w);
  EXPECT_EQ(sink->pending(), 2);
  y.sum().backward();
  EXPECT_EQ(sink->times_ready, 1);
  {
    at::NoGradGuard no_grad;
    ops::linear(at::randn({9, 4}), w);
  }
  EXPECT_EQ(sink->pending(), 0);
  set_grad_sink(w, {});
  EXPECT_EQ(grad_sink(w), nullptr);
}

TEST(LoraLinear, EqualsItsFormulaAndLeavesTheBaseAlone) {
  at::manual_seed(6);
  for (const int64_t rank : {1, 4, 16}) {
    for (const at::ScalarType type : {at::kDouble, at::kFloat, at::kBFloat16}) {
      const at::Tensor w = (at::randn({30, 20}) / 5).to(type);
      test::expect_same([&](const Tensors& t) { return ops::lora_linear(t[0], w, t[1], t[2], 2.0); },
                        [&](const Tensors& t) {
                          return at::linear(t[0], w.to(at::kDouble)) +
                                 2.0 * at::linear(at::linear(t[0], t[1]), t[2]);
                        },
                        {at::randn({33, 20}), at::randn({rank, 20}) / 9, at::randn({30, rank}) / 9}, type);
    }
  }
  EXPECT_THROW(ops::lora_linear(at::randn({9, 4}), at::randn({4, 4}).requires_grad_(), at::randn({1, 4}),
                                at::randn({4, 1}), 1.0),
               c10::Error);
}

TEST(LoraLinear, HasTheGradientOfCentralDifferences) {
  at::manual_seed(7);
  const at::Tensor w = at::randn({3, 4}, at::kDouble);
  test::gradcheck([&](const Tensors& t) { return ops::lora_linear(t[0], w, t[1], t[2], 0.5); },
                  {at::randn({2, 4}), at::randn({2, 4}), at::randn({3, 2})});
}

}  // namespace
}  // namespace phalanx::ops
