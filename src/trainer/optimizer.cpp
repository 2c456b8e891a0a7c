#include "trainer/optimizer.h"

#include <ATen/ATen.h>

#include <map>

#include "core/error.h"
#include "ops/ops.h"

namespace phalanx::trainer {
namespace {

/// Neighbouring slots with the same decay, as ranges of the flat buffers, so that one call covers many
/// tensors.
struct Range {
  int64_t begin, end;
  bool decay;
};

std::vector<Range> decay_ranges(const parallel::FlatParameters& parameters) {
  std::vector<Range> ranges;
  for (const parallel::ParameterSlot& slot : parameters.slots()) {
    if (!ranges.empty()) ranges.back().end = slot.offset;  // the alignment gap goes with the slot before it
    if (ranges.empty() || ranges.back().decay != slot.decay)
      ranges.push_back({slot.offset, slot.offset, slot.decay});
  }
  ranges.back().end = parameters.compute().numel();
  return ranges;
}

at::Tensor part(const at::Tensor& buffer, const Range& range) {
  return buffer.narrow(0, range.begin, range.end - range.begin);
}

class AdamW : public Optimizer {
 public:
  AdamW(const OptimizerOptions& options, const parallel::FlatParameters& parameters)
      : options_(options),
        ranges_(options.weight_decay == 0.0 ? std::vector<Range>{{0, parameters.compute().numel(), false}}
                                            : decay_ranges(parameters)),
        exp_avg_(at::zeros_like(parameters.grad())),
        exp_avg_sq_(at::zeros_like(parameters.grad())) {}

  void step(parallel::FlatParameters& parameters, int64_t step, double learning_rate,
            double grad_scale) override {
    for (const Range& range : ranges_) {
      const ops::AdamWOptions adamw{learning_rate, options_.betas[0], options_.betas[1], options_.eps,
                                    range.decay ? options_.weight_decay : 0.0};
      const at::Tensor lower = parameters.lower().defined() ? part(parameters.lower(), range) : at::Tensor();
      ops::adamw_(part(parameters.compute(), range), part(parameters.grad(), range), part(exp_avg_, range),
                  part(exp_avg_sq_, range), adamw, step, grad_scale, lower);
    }
  }

  std::vector<std::pair<std::string, at::Tensor>> state() const override {
    return {{"exp_avg", exp_avg_}, {"exp_avg_sq", exp_avg_sq_}};
  }

 private:
  OptimizerOptions options_;
  std::vector<Range> ranges_;
  at::Tensor exp_avg_, exp_avg_sq_;
};

class Sgd : public Optimizer {
 public:
  Sgd(const OptimizerOptions& options, const parallel::FlatParameters& parameters)
      : options_(options), ranges_(decay_ranges(parameters)) {
    if (options_.momentum != 0.0) momentum_ = at::zeros_like(parameters.grad());
  }

  void step(parallel::FlatParameters& parameters, int64_t, double learning_rate, double grad_scale) override {
    for (const Range& range : ranges_) {
      at::Tensor param = parameters.master(range.begin, range.end);
      at::Tensor grad = part(parameters.grad(), range) * grad_scale;
      if (range.decay && options_.weight_decay != 0.0) grad.add_(param, options_.weight_decay);
      if (momentum_.defined()) {
        at::Tensor momentum = part(momentum_, range);
        momentum.mul_(options_.momentum).add_(grad);
        grad = momentum;
      }
      parameters.set_master(range.begin, param.sub_(grad, learning_rate));
    }
  }

  std::vector<std::pair<std::string, at::Tensor>> state() const override {
    if (!momentum_.defined()) return {};
    return {{"momentum", momentum_}};
  }

 private:
  OptimizerOptions options_;
  std::vector<Range> ranges_;
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
  return factory->second(options, parameters);
}

}  // namespace phalanx::trainer
