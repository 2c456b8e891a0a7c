#include "ops/cross_entropy.h"

#include "ops/compare.h"
#include "ops/cpu/isa.h"
#include "ops/cpu/workspace.h"
#include "ops/grad_sink.h"

namespace phalanx::ops {
namespace {

using test::Tensors;

struct Sink : GradSink {
  explicit Sink(const at::Tensor& like) : buffer(at::zeros(like.sizes(), at::kFloat)) {}
  at::Tensor main_grad() override { return buffer; }
  void ready() override { ++times_ready; }
  at::Tensor buffer;
  int times_ready = 0;
};

at::Tensor plain_loss(const at::Tensor& hidden, const at::Tensor& weight, const at::Tensor& labels) {
  return at::nll_loss(at::log_softmax(at::linear(hidden, weight), 1), labels, {}, at::Reduction::Sum, -100);
}

at::Tensor some_labels(int64_t n, int64_t vocab) {
  at::Tensor labels = at::randint(vocab, {n}, at::kLong);
  for (int64_t i = 0; i < n; i += 3) labels[i] = -100;
  return labels;
}

TEST(LinearCrossEntropy, EqualsItsFormulaForwardAndBackward) {
  at::manual_seed(1);
  for (const auto& [n, h, vocab] : {std::tuple{1, 4, 3}, {2, 8, 17}, {40, 33, 100}, {600, 16, 257}}) {
    SCOPED_TRACE(testing::Message() << n << " x " << h << " x " << vocab);
    at::Tensor labels = some_labels(n, vocab);
    labels[n - 1] = 2;
    const double scale = 1.0 / n;
    test::expect_same_in_all_dtypes(
        [&](const Tensors& t) { return linear_cross_entropy(t[0], t[1], labels, scale) * scale; },
        [&](const Tensors& t) { return plain_loss(t[0], t[1], labels) * scale; },
        {at::randn({n, h}), at::randn({vocab, h}) / std::sqrt(h)});
  }
}

TEST(LinearCrossEntropy, AgreesOnLesserMachines) {
  at::manual_seed(2);
  const at::Tensor labels = some_labels(50, 90);
  cpu::Isa tiles = cpu::isa();
  tiles.amx_bf16 = true;
  for (const cpu::Isa& lesser : {tiles, cpu::Isa{.avx2 = cpu::isa().avx2}, cpu::Isa{}}) {
    const cpu::IsaOverride pretend(lesser);
    test::expect_same_in_all_dtypes(
        [&](const Tensors& t) { return linear_cross_entropy(t[0], t[1], labels, 0.02) * 0.02; },
        [&](const Tensors& t) { return plain_loss(t[0], t[1], labels) * 0.02; },
        {at::randn({50, 24}), at::randn({90, 24}) / 5});
  }
}

TEST(LinearCrossEntropy, GivesZeroAndZeroGradientsWhenEveryLabelIsIgnored) {
  at::Tensor hidden = at::randn({5, 8}).requires_grad_(), weight = at::randn({20, 8}).requires_grad_();
  const at::Tensor loss = linear_cross_entropy(hidden, weight, at::full({5}, -100, at::kLong), 1.0);
  EXPECT_EQ(loss.item<float>(), 0.0f);
  loss.backward();
  EXPECT_EQ(hidden.grad().abs().max().item<float>(), 0.0f);
  EXPECT_EQ(weight.grad().abs().max().item<float>(), 0.0f);
}

TEST(LinearCrossEntropy, IsExactForHugeLogitsAndAHugeVocabulary) {
  at::manual_seed(3);
  const at::Tensor hidden = at::tensor({1e2f, 0.0f, -1e2f, 1.0f}).view({2, 2}),
                   labels = at::tensor({5, 262143}, at::kLong);
  // Whole numbers, so that no logit is rounded: what is tested is the softmax over +-1e4.
  const at::Tensor weight = at::randint(-100, 101, {262144, 2}, at::kFloat);
  test::expect_same([&](const Tensors& t) { return linear_cross_entropy(t[0], t[1], labels, 1.0); },
                    [&](const Tensors& t) { return plain_loss(t[0], t[1], labels); }, {hidden, weight},
                    at::kFloat);
}

TEST(LinearCrossEntropy, ReportsTheLossOfEachRow) {
  at::manual_seed(4);
  const at::Tensor hidden = at::randn({7, 8}), weight = at::randn({20, 8}), labels = some_labels(7, 20);
  at::Tensor rows;
  const at::Tensor total = linear_cross_entropy(hidden.clone().requires_grad_(), weight, labels, 1.0, &rows);
  const at::Tensor expected =
      at::nll_loss(at::log_softmax(at::linear(hidden, weight), 1), labels, {}, at::Reduction::None, -100);
  test::expect_near(rows, expected, {1e-5, 1e-5}, "row losses");
  EXPECT_FALSE(rows.requires_grad());
  EXPECT_FLOAT_EQ(total.item<float>(), rows.sum().item<float>());
  test::expect_near(token_logprobs(hidden, weight, labels), -expected, {1e-5, 1e-5}, "log p");
}

TEST(LinearCrossEntropy, AddsTheWeightGradientIntoTheSinkAndInsistsOnItsFactor) {
  at::manual_seed(5);
  const at::Tensor labels = some_labels(30, 40);
  at::Tensor hidden = at::randn({30, 16}).requires_grad_(), weight = at::randn({40, 16}).requires_grad_();
  (linear_cross_entropy(hidden, weight, labels, 0.1) * 0.1).backward();
  const at::Tensor expected = weight.grad().clone();
  const auto sink = c10::make_intrusive<Sink>(weight);
  set_grad_sink(weight, sink);
  (linear_cross_entropy(hidden, weight, labels, 0.1) * 0.1).backward();
  EXPECT_TRUE(at::equal(sink->buffer, expected));
  EXPECT_EQ(sink->times_ready, 1);
  EXPECT_THROW((linear_cross_entropy(hidden, weight, labels, 0.1) * 0.2).backward(), c10::Error);
}

TEST(LinearCrossEntropy, NeverHoldsMoreLogitsThanItsBudget) {
  cpu::release_scratch();
  const size_t before = cpu::scratch_bytes();
  at::Tensor hidden = at::randn({3000, 4}).to(at::kBFloat16).requires_grad_();
  at::Tensor weight =
      at::randn({100000, 4}).to(at::kBFloat16).requires_grad_();  // all logits: 1.2 GB in fp32
  linear_cross_entropy(hidden, weight,
                       at::zeros({3000}, at::kLong).fill_(-100).index_fill_(0, at::arange(400), 1), 1.0)
      .backward();
  constexpr size_t kPanels = size_t{40} << 20;  // packed operands and partial results of the products
  EXPECT_LE(cpu::scratch_bytes() - before, static_cast<size_t>(kLogitsBudgetBytes) + kPanels);
}

TEST(LinearCrossEntropy, RefusesLabelsOutsideTheVocabulary) {
  const at::Tensor hidden = at::randn({2, 4}), weight = at::randn({10, 4});
  EXPECT_THROW(linear_cross_entropy(hidden, weight, at::tensor({1, 10}, at::kLong), 1.0), c10::Error);
  EXPECT_THROW(linear_cross_entropy(hidden, weight, at::tensor({-1, 1}, at::kLong), 1.0), c10::Error);
}

TEST(LinearCrossEntropy, HasTheGradientOfCentralDifferences) {
  at::manual_seed(6);
  const at::Tensor labels = at::tensor({1, -100, 4}, at::kLong);
  test::gradcheck([&](const Tensors& t) { return linear_cross_entropy(t[0], t[1], labels, 1.0); },
                  {at::randn({3, 4}), at::randn({6, 4})});
}

at::Tensor plain_logprobs(const at::Tensor& hidden, const at::Tensor& weight, const at::Tensor& labels) {
  return -at::nll_loss(at::log_softmax(at::linear(hidden, weight), 1), labels, {}, at::Reduction::None, -100);
}

TEST(TokenLogprobs, EqualTheirFormulaForwardAndBackward) {
  at::manual_seed(7);
  for (const auto& [n, h, vocab] : {std::tuple{1, 4, 3}, {40, 33, 100}, {600, 16, 257}}) {
    SCOPED_TRACE(testing::Message() << n << " x " << h << " x " << vocab);
    at::Tensor labels = some_labels(n, vocab);
    labels[n - 1] = 2;
    test::expect_same_in_all_dtypes([&](const Tensors& t) { return token_logprobs(t[0], t[1], labels); },
                                    [&](const Tensors& t) { return plain_logprobs(t[0], t[1], labels); },
                                    {at::randn({n, h}), at::randn({vocab, h}) / std::sqrt(h)});
  }
}

TEST(TokenLogprobs, OfSoftCappedLogitsHaveTheGradientOfCentralDifferences) {
  at::manual_seed(8);
  const at::Tensor labels = at::tensor({1, -100, 4}, at::kLong);
  test::gradcheck(
      [&](const Tensors& t) { return token_logprobs(t[0], t[1], labels, capped_cross_entropy(2.0), 6); },
      {at::randn({3, 4}), at::randn({6, 4})});
}

TEST(TokenLogprobs, DivideLogitsByATemperatureAndGiveEntropies) {
  at::manual_seed(10);
  const at::Tensor labels = some_labels(50, 90), counts = labels.ne(-100);
  for (const cpu::Isa& machine : {cpu::isa(), cpu::Isa{.avx2 = cpu::isa().avx2}, cpu::Isa{}}) {
    const cpu::IsaOverride pretend(machine);
    at::Tensor entropies;
    at::ScalarType type = at::kDouble;
    test::expect_same_in_all_dtypes(
        [&](const Tensors& t) {
          type = t[0].scalar_type();
          return token_logprobs(t[0], t[1], labels, {.temperature = 0.7, .entropies = &entropies});
        },
        [&](const Tensors& t) {
          const at::Tensor log_p = at::log_softmax(at::linear(t[0], t[1]) / 0.7, 1);
          const at::Tensor expected = -(log_p.exp() * log_p).sum(1) * counts;
          test::expect_near(entropies, expected, test::tolerance(type), "entropy");
          return -at::nll_loss(log_p, labels, {}, at::Reduction::None, -100);
        },
        {at::randn({50, 24}), at::randn({90, 24}) / 5});
  }
}

TEST(TokenLogprobs, DivideSoftCappedLogitsBehindTheCap) {
  at::manual_seed(11);
  const at::Tensor labels = at::tensor({1, -100, 4}, at::kLong);
  at::Tensor entropies;
  const auto operation = [&](const Tensors& t) {
    return token_logprobs(t[0], t[1], labels, capped_cross_entropy(2.0), 6, {0.5, &entropies});
  };
  const at::Tensor hidden = at::randn({3, 4}, at::kDouble), weight = at::randn({6, 4}, at::kDouble);
  const at::Tensor log_p = at::log_softmax(2 * at::tanh(at::linear(hidden, weight) / 2) / 0.5, 1);
  test::expect_near(operation({hidden, weight}), -at::nll_loss(log_p, labels, {}, at::Reduction::None, -100),
                    {1e-12, 1e-12}, "log p");
  test::expect_near(entropies, -(log_p.exp() * log_p).sum(1) * labels.ne(-100), {1e-12, 1e-12}, "entropy");
  test::gradcheck(operation, {hidden, weight});
}

TEST(TokenLogprobs, AddTheWeightGradientIntoTheSinkInTheBackward) {
  at::manual_seed(9);
  const at::Tensor labels = some_labels(30, 40), factors = at::randn({30});
  at::Tensor hidden = at::randn({30, 16}).requires_grad_(), weight = at::randn({40, 16}).requires_grad_();
  (token_logprobs(hidden, weight, labels) * factors).sum().backward();
  const at::Tensor expected = weight.grad().clone();
  const auto sink = c10::make_intrusive<Sink>(weight);
  set_grad_sink(weight, sink);
  const at::Tensor logprobs = token_logprobs(hidden, weight, labels);
  EXPECT_EQ(sink->times_ready, 0);
  (logprobs * factors).sum().backward();
  EXPECT_TRUE(at::equal(sink->buffer, expected));
  EXPECT_EQ(sink->times_ready, 1);
}

}  // namespace
}  // namespace phalanx::ops
