#include "parallel/flat_parameters.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include "core/error.h"
#include "ops/split_weights.h"

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
  if (main.dtype() != compute.dtype()) lower_ = at::zeros({total}, compute.dtype(at::kShort));
  grad_ = at::zeros({total}, main);
  at::NoGradGuard no_grad;
  for (ParameterSlot& slot : slots_) {
    set_master(slot.offset, slot.param.reshape(-1));
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

at::Tensor FlatParameters::master(int64_t begin, int64_t end) const {
  const at::Tensor upper = compute_.narrow(0, begin, end - begin);
  return lower_.defined() ? ops::join_halves(upper, lower_.narrow(0, begin, end - begin)) : upper;
}

at::Tensor FlatParameters::master(const ParameterSlot& slot) const {
  return master(slot.offset, slot.offset + slot.numel).view(slot.param.sizes());
}

void FlatParameters::set_master(int64_t begin, const at::Tensor& values) {
  at::NoGradGuard no_grad;
  const at::Tensor upper = compute_.narrow(0, begin, values.numel());
  if (lower_.defined()) {
    ops::split_halves(values, upper, lower_.narrow(0, begin, values.numel()));
  } else if (!values.is_alias_of(compute_)) {
    upper.copy_(values.reshape(-1));
  }
}

}  // namespace phalanx::parallel
