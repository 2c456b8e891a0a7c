#include "model/parameter.h"

#include <c10/core/GradMode.h>

namespace phalanx::model {

at::Tensor unallocated(at::IntArrayRef shape) {
  at::Tensor tensor = at::empty({0}, at::kFloat);
  // The shape without the memory: a meta tensor would say the same, but set_data() cannot turn it into a real
  // one.
  tensor.unsafeGetTensorImpl()->set_sizes_contiguous(shape);
  return tensor;
}

bool is_allocated(const at::Tensor& tensor) {
  return static_cast<int64_t>(tensor.storage().nbytes()) >=
         tensor.numel() * static_cast<int64_t>(tensor.element_size());
}

void set_to_part(at::Tensor tensor, at::IntArrayRef offset, at::IntArrayRef sizes) {
  if (!is_allocated(tensor)) {
    tensor.unsafeGetTensorImpl()->set_sizes_contiguous(sizes);
    return;
  }
  const at::NoGradGuard no_grad;
  at::Tensor part = tensor.detach();
  for (size_t i = 0; i < offset.size(); ++i) part = part.narrow(static_cast<int64_t>(i), offset[i], sizes[i]);
  tensor.set_data(part.clone(at::MemoryFormat::Contiguous));
}

void allocate(Module& module, at::ScalarType dtype, at::Device device) {
  for (auto& [name, parameter] : module.named_parameters()) {
    if (is_allocated(parameter)) continue;
    parameter.set_data(at::empty(parameter.sizes(), at::TensorOptions().dtype(dtype).device(device)));
  }
}

NamedTensors all_parameters(const Module& module) {
  return module.named_parameters();
}

NamedTensors trainable_parameters(const Module& module) {
  NamedTensors parameters = all_parameters(module);
  std::erase_if(parameters, [](const auto& item) { return !item.second.requires_grad(); });
  return parameters;
}

}  // namespace phalanx::model
