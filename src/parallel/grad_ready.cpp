#include "parallel/grad_ready.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <utility>

#include "ops/grad_sink.h"

namespace phalanx::parallel {
namespace {

class SlotSink : public ops::GradSink {
 public:
  SlotSink(FlatParameters& parameters, size_t slot, std::function<void(size_t)> ready)
      : parameters_(parameters), slot_(slot), ready_(std::move(ready)) {}
  at::Tensor main_grad() override { return parameters_.grad(parameters_.slots()[slot_]); }
  void ready() override { ready_(slot_); }

 private:
  FlatParameters& parameters_;
  size_t slot_;
  std::function<void(size_t)> ready_;
};

}  // namespace

GradReady::GradReady(FlatParameters& parameters, const std::function<void(size_t)>& ready)
    : parameters_(parameters) {
  for (size_t i = 0; i < parameters.slots().size(); ++i)
    ops::set_grad_sink(parameters.slots()[i].param, c10::make_intrusive<SlotSink>(parameters, i, ready));
}

GradReady::~GradReady() {
  for (const ParameterSlot& slot : parameters_.slots()) ops::set_grad_sink(slot.param, {});
}

void GradReady::end_backward() {
  at::NoGradGuard no_grad;
  for (const ParameterSlot& slot : parameters_.slots()) {
    if (!slot.param.grad().defined()) continue;
    parameters_.grad(slot).add_(slot.param.grad());
    slot.param.mutable_grad() = at::Tensor();
  }
}

void GradReady::reset() {
  for (const ParameterSlot& slot : parameters_.slots()) {
    if (ops::GradSink* sink = ops::grad_sink(slot.param)) sink->reset();
  }
}

}  // namespace phalanx::parallel
