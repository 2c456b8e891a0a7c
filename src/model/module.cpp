#include "model/module.h"

#include "core/error.h"

namespace phalanx::model {

NamedTensors Module::named_parameters() const {
  NamedTensors all = parameters_;
  for (const auto& [name, child] : children_) {
    for (auto& [path, tensor] : child->named_parameters())
      all.emplace_back(name + "." + path, std::move(tensor));
  }
  return all;
}

Module::NamedModules Module::named_modules() const {
  NamedModules all;
  for (const auto& [name, child] : children_) {
    all.emplace_back(name, child);
    for (auto& [path, module] : child->named_modules())
      all.emplace_back(name + "." + path, std::move(module));
  }
  return all;
}

at::Tensor Module::parameter(const std::string& path) const {
  for (const auto& [name, tensor] : named_parameters()) {
    if (name == path) return tensor;
  }
  core::fail(core::ExitCode::kBug, "the model has no parameter {}", core::printable(path));
}

at::Tensor Module::register_parameter(std::string name, at::Tensor tensor, bool requires_grad) {
  tensor.set_requires_grad(requires_grad);
  parameters_.emplace_back(std::move(name), tensor);
  return tensor;
}

}  // namespace phalanx::model
