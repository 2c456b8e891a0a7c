#include "parallel/flat_parameters.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include "core/error.h"

namespace phalanx::parallel {
namespace {

constexpr int64_t kAlignElements = 16;  // 64 bytes of fp32: one cache line, one AVX-512 register

at::ScalarType main_dtype(at::ScalarType compute) {
  return compute == at::kDouble ? at::kDouble : at::kFloat;
}

}  // namespace

FlatParameters::FlatParameters(const std::vector<std::pair<std::string, at::Tensor>>& parameters,
                               at::ScalarType compute_dtype) {
  if (parameters.empty())
    core::fail(core::ExitCode::kBadConfig, "there is no trainable parameter: check lora.target_modules");
  int64_t total = 0;
  for (auto it = parameters.rbegin(); it != parameters.rend(); ++it) {
    const auto& [name, param] = *it;
    slots_.push_back({name, param, total, param.numel(), param.dim() >= 2});
    total += (param.numel() + kAlignElements - 1) / kAlignElements * kAlignElements;
  }
  const at::TensorOptions compute =
      parameters.front().second.options().requires_grad(false).dtype(compute_dtype);
  const at::TensorOptions main = compute.dtype(main_dtype(compute_dtype));
  compute_ = at::zeros({total}, compute);
  master_ = main.dtype() == compute.dtype() ? compute_ : at::zeros({total}, main);
  grad_ = at::zeros({total}, main);
  at::NoGradGuard no_grad;
  for (ParameterSlot& slot : slots_) {
    view(master_, slot).copy_(slot.param);
    if (has_separate_master()) view(compute_, slot).copy_(slot.param);
    slot.param.set_data(view(compute_, slot));
  }
}

at::Tensor FlatParameters::view(const at::Tensor& buffer, const ParameterSlot& slot) {
  return buffer.narrow(0, slot.offset, slot.numel).view(slot.param.sizes());
}

int64_t FlatParameters::num_parameters() const {
  int64_t sum = 0;
  for (const ParameterSlot& slot : slots_) sum += slot.numel;
  return sum;
}

void FlatParameters::copy_master_to_compute() {
  at::NoGradGuard no_grad;
  if (has_separate_master()) compute_.copy_(master_);
}

}  // namespace phalanx::parallel
