#include "trainer/host_offload.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

namespace phalanx::trainer {
namespace {

class HostOffload : public Optimizer {
 public:
  explicit HostOffload(std::unique_ptr<Optimizer> inner) : inner_(std::move(inner)) {}

  void step(const std::vector<parallel::UpdateRange>& ranges, int64_t step, double learning_rate,
            double grad_scale) override {
    const at::NoGradGuard no_grad;
    for (const parallel::UpdateRange& range : ranges) {
      parallel::UpdateRange host = range;
      host.compute = on_host(range.compute, weights_);
      host.grad = on_host(range.grad, gradients_);
      inner_->step({host}, step, learning_rate, grad_scale);
      at::Tensor(range.compute).copy_(host.compute);
    }
  }

  std::vector<std::pair<std::string, at::Tensor>> state() const override { return inner_->state(); }

 private:
  /// A copy in memory that all ranges use in turn; page-locked where a GPU reads it.
  static at::Tensor on_host(const at::Tensor& values, at::Tensor& buffer) {
    if (!buffer.defined() || buffer.numel() < values.numel())
      buffer = at::empty(values.sizes(), values.options().device(at::kCPU).pinned_memory(values.is_cuda()));
    return buffer.narrow(0, 0, values.numel()).copy_(values);
  }

  std::unique_ptr<Optimizer> inner_;
  at::Tensor weights_, gradients_;
};

}  // namespace

std::unique_ptr<Optimizer> offloaded_to_host(std::unique_ptr<Optimizer> inner) {
  return std::make_unique<HostOffload>(std::move(inner));
}

}  // namespace phalanx::trainer
