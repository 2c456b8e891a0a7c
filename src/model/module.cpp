#include "model/module.h"

#include <algorithm>

#include "core/error.h"
#include "model/parameter.h"

namespace phalanx::model {

void Module::add_child(std::string name, std::shared_ptr<Module> module) {
  children_.emplace_back(std::move(name), std::move(module));
}

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

void Module::cut_parameter(const std::string& name, std::vector<int64_t> offset, std::vector<int64_t> sizes) {
  const auto found = std::find_if(parameters_.begin(), parameters_.end(),
                                  [&](const auto& item) { return item.first == name; });
  if (found == parameters_.end())
    core::fail(core::ExitCode::kBug, "there is no parameter {} to be cut", core::printable(name));
  at::Tensor& tensor = found->second;
  Part& part = parts_.try_emplace(name, Part{tensor.sizes().vec(), std::vector<int64_t>(sizes.size(), 0)})
                   .first->second;  // cut twice: a part of a part
  for (size_t i = 0; i < offset.size(); ++i) part.offset[i] += offset[i];
  set_to_part(tensor, offset, sizes);
}

NamedParts Module::named_parts() const {
  NamedParts all = parts_;
  for (const auto& [name, child] : children_) {
    for (auto& [path, part] : child->named_parts()) all.emplace(name + "." + path, part);
  }
  return all;
}

void Module::remove_module(const std::string& path) {
  const size_t dot = path.find('.');
  const std::string first = path.substr(0, dot);
  for (auto child = children_.begin(); child != children_.end(); ++child) {
    if (child->first != first) continue;
    if (dot != std::string::npos) return child->second->remove_module(path.substr(dot + 1));
    children_.erase(child);
    return;
  }
  core::fail(core::ExitCode::kBug, "there is no module {} to be removed", core::printable(path));
}

at::Tensor Module::register_parameter(std::string name, at::Tensor tensor, bool requires_grad) {
  tensor.set_requires_grad(requires_grad);
  parameters_.emplace_back(std::move(name), tensor);
  return tensor;
}

}  // namespace phalanx::model
