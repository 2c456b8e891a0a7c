#include "trainer/method.h"

#include <ATen/ATen.h>
#include <fmt/ranges.h>

#include "core/error.h"

namespace phalanx::trainer {
namespace {

at::Tensor to_tensor(const std::vector<int64_t>& values, at::Device device) {
  return at::tensor(values, at::kLong).to(device);
}

}  // namespace

const MethodKind& find_method(const std::string& name) {
  for (const MethodKind& method : methods()) {
    if (method.name == name) return method;
  }
  core::fail(core::ExitCode::kBadConfig, "method.name is {}; known are {}", name,
             fmt::join(method_names(), ", "));
}

std::vector<std::string> method_names() {
  std::vector<std::string> names;
  for (const MethodKind& method : methods()) names.push_back(method.name);
  return names;
}

model::ModelInput model_input(const data::Batch& batch, at::Device device) {
  return {to_tensor(batch.input_ids, device), to_tensor(batch.position_ids, device), batch.cu_seqlens};
}

at::Tensor labels(const data::Batch& batch, at::Device device) {
  return to_tensor(batch.labels, device);
}

}  // namespace phalanx::trainer
