#include "trainer/optimizer.h"

#include <ATen/ATen.h>

#include <map>

#include "core/error.h"
#include "ops/ops.h"
#include "trainer/host_offload.h"

namespace phalanx::trainer {
namespace {

at::Tensor zeros_for(const parallel::FlatParameters& parameters) {
  return at::zeros(
      {parameters.num_owned()},
      at::TensorOptions().dtype(parameters.master_dtype()).device(parameters.options().master_device()));
}

at::Tensor part(const at::Tensor& state, const parallel::UpdateRange& range) {
  return state.narrow(0, range.owned_offset, range.compute.numel());
}

class AdamW : public Optimizer {
 public:
  AdamW(const OptimizerOptions& options, const parallel::FlatParameters& parameters)
      : options_(options), exp_avg_(zeros_for(parameters)), exp_avg_sq_(zeros_for(parameters)) {}

  void step(const std::vector<parallel::UpdateRange>& ranges, int64_t step, double learning_rate,
            double grad_scale) override {
    for (const parallel::UpdateRange& range : ranges) {
      const ops::AdamWOptions adamw{learning_rate, options_.betas[0], options_.betas[1], options_.eps,
                                    range.decay ? options_.weight_decay : 0.0};
      ops::adamw_(range.compute, range.grad, part(exp_avg_, range), part(exp_avg_sq_, range), adamw, step,
                  grad_scale, range.lower);
    }
  }

  std::vector<std::pair<std::string, at::Tensor>> state() const override {
    return {{"exp_avg", exp_avg_}, {"exp_avg_sq", exp_avg_sq_}};
  }

 private:
  OptimizerOptions options_;
  at::Tensor exp_avg_, exp_avg_sq_;
};

class Sgd : public Optimizer {
 public:
  Sgd(const OptimizerOptions& options, const parallel::FlatParameters& parameters) : options_(options) {
    if (options_.momentum != 0.0) momentum_ = zeros_for(parameters);
  }

  void step(const std::vector<parallel::UpdateRange>& ranges, int64_t, double learning_rate,
            double grad_scale) override {
    for (const parallel::UpdateRange& range : ranges) {
      at::Tensor param = range.lower.defined() ? ops::join_halves(range.compute, range.lower) : range.compute;
      at::Tensor grad = range.grad * grad_scale;
      if (range.decay && options_.weight_decay != 0.0) grad.add_(param, options_.weight_decay);
      if (momentum_.defined()) {
        at::Tensor momentum = part(momentum_, range);
        momentum.mul_(options_.momentum).add_(grad);
        grad = momentum;
      }
      param.sub_(grad, learning_rate);
      if (range.lower.defined()) ops::split_halves(param, range.compute, range.lower);
    }
  }

  std::vector<std::pair<std::string, at::Tensor>> state() const override {
    if (!momentum_.defined()) return {};
    return {{"momentum", momentum_}};
  }

 private:
  OptimizerOptions options_;
  at::Tensor momentum_;
};

template <typename T>
std::unique_ptr<Optimizer> make(const OptimizerOptions& options, const parallel::FlatParameters& parameters) {
  return std::make_unique<T>(options, parameters);
}

using Factory = std::unique_ptr<Optimizer> (*)(const OptimizerOptions&, const parallel::FlatParameters&);
const std::map<std::string, Factory> kFactories = {{"adamw", make<AdamW>}, {"sgd", make<Sgd>}};

}  // namespace

std::unique_ptr<Optimizer> make_optimizer(const OptimizerOptions& options,
                                          const parallel::FlatParameters& parameters) {
  const auto factory = kFactories.find(options.name);
  if (factory == kFactories.end()) {
    core::fail(core::ExitCode::kBadConfig, "optimizer.name is {}; known are adamw, sgd", options.name);
  }
  auto optimizer = factory->second(options, parameters);
  if (!options.offload_to_host) return optimizer;
  if (parameters.options().device.is_cpu()) {
    core::fail(core::ExitCode::kBadConfig,
               "optimizer.offload_to_host is true but the weights are on the host already; it needs a GPU "
               "(parallel.backend: nccl)");
  }
  return offloaded_to_host(std::move(optimizer));
}

}  // namespace phalanx::trainer
