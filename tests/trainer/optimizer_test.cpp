#include "trainer/optimizer.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/optim/adamw.h>
#include <torch/optim/sgd.h>

#include "core/error.h"
#include "trainer/host_offload.h"
#include "trainer/method.h"

namespace phalanx::trainer {
namespace {

/// A matrix that decays and a vector that does not, with the same gradients every step on both sides.
struct Pair {
  Pair() {
    at::manual_seed(4);
    matrix = at::randn({5, 7}, at::kDouble).requires_grad_();
    vector = at::randn({9}, at::kDouble).requires_grad_();
    reference_matrix = matrix.detach().clone().requires_grad_();
    reference_vector = vector.detach().clone().requires_grad_();
    parameters = std::make_unique<parallel::FlatParameters>(
        std::vector<std::pair<std::string, at::Tensor>>{{"matrix", matrix}, {"vector", vector}},
        parallel::FlatOptions{.compute_dtype = at::kDouble});
  }

  /// The same random gradients for the slots and for the reference.
  void set_gradients(double scale) {
    for (const parallel::ParameterSlot& slot : parameters->slots()) {
      const at::Tensor gradient = at::randn(slot.param.sizes(), at::kDouble);
      parameters->grad(slot).copy_(gradient);
      (slot.name == "matrix" ? reference_matrix : reference_vector).mutable_grad() = gradient * scale;
    }
  }

  void expect_equal() const {
    EXPECT_LT((matrix - reference_matrix).abs().max().item<double>(), 1e-13);
    EXPECT_LT((vector - reference_vector).abs().max().item<double>(), 1e-13);
  }

  at::Tensor matrix, vector, reference_matrix, reference_vector;
  std::unique_ptr<parallel::FlatParameters> parameters;
};

template <typename Optimizer, typename Options>
std::unique_ptr<Optimizer> reference(const Pair& pair, Options decaying, Options plain) {
  std::vector<torch::optim::OptimizerParamGroup> groups;
  groups.emplace_back(std::vector<at::Tensor>{pair.reference_matrix}, std::make_unique<Options>(decaying));
  groups.emplace_back(std::vector<at::Tensor>{pair.reference_vector}, std::make_unique<Options>(plain));
  return std::make_unique<Optimizer>(groups, decaying);
}

void expect_same_steps(Pair& pair, const OptimizerOptions& options, torch::optim::Optimizer& expected) {
  auto optimizer = make_optimizer(options, *pair.parameters);
  for (int64_t step = 1; step <= 5; ++step) {
    const double clip_scale = step % 2 == 0 ? 0.5 : 1.0;
    pair.set_gradients(clip_scale);
    optimizer->step(pair.parameters->update_ranges(), step, options.learning_rate, clip_scale);
    expected.step();
    pair.expect_equal();
  }
}

TEST(Optimizer, AdamWEqualsTorchsAndDecaysMatricesOnly) {
  Pair pair;
  OptimizerOptions options;
  options.learning_rate = 0.01;
  options.weight_decay = 0.1;
  const auto base =
      torch::optim::AdamWOptions(0.01).betas({options.betas[0], options.betas[1]}).eps(options.eps);
  const auto expected =
      reference<torch::optim::AdamW>(pair, torch::optim::AdamWOptions(base).weight_decay(0.1),
                                     torch::optim::AdamWOptions(base).weight_decay(0.0));
  expect_same_steps(pair, options, *expected);
}

TEST(Optimizer, SgdWithMomentumEqualsTorchs) {
  Pair pair;
  OptimizerOptions options;
  options.name = "sgd";
  options.learning_rate = 0.01;
  options.momentum = 0.9;
  options.weight_decay = 0.1;
  const auto base = torch::optim::SGDOptions(0.01).momentum(0.9);
  const auto expected = reference<torch::optim::SGD>(pair, torch::optim::SGDOptions(base).weight_decay(0.1),
                                                     torch::optim::SGDOptions(base).weight_decay(0.0));
  expect_same_steps(pair, options, *expected);
}

/// The weights after some steps with random gradients, and the state.
std::vector<at::Tensor> trained_weights(at::ScalarType compute, bool is_offloaded) {
  at::manual_seed(6);
  const at::Tensor matrix = at::randn({33, 7}).requires_grad_(), vector = at::randn({9}).requires_grad_();
  parallel::FlatParameters parameters({{"matrix", matrix}, {"vector", vector}},
                                      {.compute_dtype = compute, .masters_on_host = is_offloaded});
  OptimizerOptions options;
  options.weight_decay = 0.1;
  auto optimizer = make_optimizer(options, parameters);
  if (is_offloaded) optimizer = offloaded_to_host(std::move(optimizer));
  for (int64_t step = 1; step <= 4; ++step) {
    for (const parallel::ParameterSlot& slot : parameters.slots())
      parameters.grad(slot).copy_(at::randn(slot.param.sizes()));
    optimizer->step(parameters.update_ranges(), step, 0.01, 0.5);
  }
  std::vector<at::Tensor> result;
  for (const parallel::OwnedPiece& piece : parameters.owned_pieces()) {
    result.push_back(parameters.master(piece).clone());
    result.push_back(piece.slot->param.clone());
  }
  for (const auto& [name, state] : optimizer->state()) result.push_back(state);
  return result;
}

TEST(HostOffload, GivesTheBitsOfTheUpdateInPlace) {
  for (const at::ScalarType compute : {at::kFloat, at::kBFloat16}) {
    const auto plain = trained_weights(compute, false), offloaded = trained_weights(compute, true);
    ASSERT_EQ(plain.size(), offloaded.size());
    for (size_t i = 0; i < plain.size(); ++i) EXPECT_TRUE(at::equal(plain[i], offloaded[i])) << i;
  }
}

TEST(HostOffload, IsRefusedWhereTheWeightsAreOnTheHost) {
  Pair pair;
  OptimizerOptions options;
  options.offload_to_host = true;
  EXPECT_THROW(make_optimizer(options, *pair.parameters), core::Error);
}

TEST(Registries, ListWhatTheyKnow) {
  Pair pair;
  OptimizerOptions options;
  options.name = "adamx";
  EXPECT_THROW(make_optimizer(options, *pair.parameters), core::Error);
  try {
    find_method("dpoo");
    FAIL();
  } catch (const core::Error& error) {
    EXPECT_NE(std::string(error.what()).find("known are pretrain, sft"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace phalanx::trainer
