#pragma once
#include <ATen/core/Tensor.h>

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace phalanx::model {

/// (Hugging Face tensor name, parameter) in execution order.
using NamedTensors = std::vector<std::pair<std::string, at::Tensor>>;

/// Which part of a whole tensor (as files know it) a parameter is, in a model that was cut. Without one it is
/// the whole.
struct Part {
  std::vector<int64_t> shape;   ///< of the whole tensor
  std::vector<int64_t> offset;  ///< of this part in it, one number per dimension
};
using NamedParts = std::map<std::string, Part>;

/// A node of the tree of layers: parameters and submodules under the names that they have in files. What
/// torch::nn::Module does for this program, without its headers, which cost each file that includes them ten
/// seconds of compiling.
class Module {
 public:
  using NamedModules = std::vector<std::pair<std::string, std::shared_ptr<Module>>>;

  Module() = default;
  virtual ~Module() = default;
  Module(const Module&) = delete;
  Module& operator=(const Module&) = delete;

  NamedTensors named_parameters() const;  ///< of this module, then of its submodules, with dotted paths
  NamedModules named_modules() const;     ///< all below this one, each before its own submodules
  /// @throws core::Error (70) if there is none of this dotted path.
  at::Tensor parameter(const std::string& path) const;

  at::Tensor register_parameter(std::string name, at::Tensor tensor, bool requires_grad = true);
  /// Makes this module's own parameter `name` the part at `offset` of `sizes` of what it is now: values are
  /// taken over where it is allocated.
  void cut_parameter(const std::string& name, std::vector<int64_t> offset, std::vector<int64_t> sizes);
  /// The parts of all parameters that were cut, by dotted path.
  NamedParts named_parts() const;
  /// Forgets the submodule of this dotted path: it has no parameters here any more.
  void remove_module(const std::string& path);
  template <class M>
  std::shared_ptr<M> register_module(std::string name, std::shared_ptr<M> module) {
    add_child(std::move(name), module);
    return module;
  }

 private:
  void add_child(std::string name, std::shared_ptr<Module> module);

  NamedTensors parameters_;
  NamedParts parts_;
  NamedModules children_;
};

/// Submodules "0", "1", ... of a registered list.
class ModuleList : public Module {
 public:
  void push_back(std::shared_ptr<Module> module) {
    register_module(std::to_string(size_++), std::move(module));
  }

 private:
  int64_t size_ = 0;
};

}  // namespace phalanx::model
