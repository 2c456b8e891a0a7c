#include "parallel/grad_ready.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <utility>

#include "ops/grad_sink.h"

namespace phalanx::parallel {
namespace {

class SlotSink : public ops::GradSink {
 public:
  SlotSink(at::Tensor main_grad, std::function<void()> ready)
      : main_grad_(std::move(main_grad)), ready_(std::move(ready)) {}
  at::Tensor main_grad() override { return main_grad_; }
  void ready() override { ready_(); }

 private:
  at::Tensor main_grad_;
  std::function<void()> ready_;
};

}  // namespace

GradReady::GradReady(FlatParameters& parameters, std::function<void(size_t)> ready)
    : parameters_(parameters) {
  for (size_t i = 0; i < parameters.slots().size(); ++i) {
    const ParameterSlot& slot = parameters.slots()[i];
    ops::set_grad_sink(slot.param,
                       c10::make_intrusive<SlotSink>(FlatParameters::view(parameters.grad(), slot),
                                                     [ready, i] { ready(i); }));
  }
}

GradReady::~GradReady() {
  for (const ParameterSlot& slot : parameters_.slots()) ops::set_grad_sink(slot.param, {});
}

void GradReady::end_backward() {
  at::NoGradGuard no_grad;
  for (const ParameterSlot& slot : parameters_.slots()) {
    if (ops::GradSink* sink = ops::grad_sink(slot.param)) sink->reset();
    if (!slot.param.grad().defined()) continue;
    FlatParameters::view(parameters_.grad(), slot).add_(slot.param.grad());
    slot.param.mutable_grad() = at::Tensor();
  }
}

}  // namespace phalanx::parallel
