#include "ops/grad_sink.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

namespace phalanx::ops {
namespace {

// Rides on the TensorImpl, so that no global table has to outlive or lock anything.
struct SinkMeta : c10::BackendMeta {
  explicit SinkMeta(c10::intrusive_ptr<GradSink> s) : sink(std::move(s)) {}
  c10::intrusive_ptr<c10::BackendMeta> clone(const c10::intrusive_ptr<c10::BackendMeta>&) const override {
    return nullptr;  // an alias is another tensor: it has no sink
  }
  c10::intrusive_ptr<GradSink> sink;
};

}  // namespace

void set_grad_sink(const at::Tensor& parameter, c10::intrusive_ptr<GradSink> sink) {
  TORCH_CHECK(parameter.is_leaf(), "set_grad_sink: the parameter must be a leaf tensor");
  parameter.unsafeGetTensorImpl()->set_backend_meta(sink ? c10::make_intrusive<SinkMeta>(std::move(sink))
                                                         : nullptr);
}

GradSink* grad_sink(const at::Tensor& parameter) {
  if (!parameter.defined()) return nullptr;
  auto* meta = dynamic_cast<SinkMeta*>(parameter.unsafeGetTensorImpl()->get_backend_meta());
  return meta ? meta->sink.get() : nullptr;
}

void expect_gradient(const at::Tensor& parameter) {
  if (!c10::GradMode::is_enabled() || !parameter.defined() || !parameter.requires_grad()) return;
  if (GradSink* sink = grad_sink(parameter)) sink->expect();
}

at::Tensor deliver_gradient(const at::Tensor& parameter, const at::Tensor& gradient) {
  GradSink* sink = grad_sink(parameter);
  if (!sink) return gradient.to(parameter.scalar_type());
  sink->main_grad().add_(gradient);
  sink->done();
  return {};
}

}  // namespace phalanx::ops
