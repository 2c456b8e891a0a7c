#include "trainer/method.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <map>

#include "core/error.h"

namespace phalanx::trainer {
namespace {

std::map<std::string, Method>& methods() {
  static std::map<std::string, Method> table;
  return table;
}

at::Tensor to_tensor(const std::vector<int64_t>& values, at::Device device) {
  return at::tensor(values, at::kLong).to(device);
}

/// Cross-entropy of the next token where the mask counts it. `sft` and `pretrain` differ in their data, not
/// in their loss.
at::Tensor next_token_loss(model::CausalLm& model, const model::LayersOutput& output,
                           const data::Batch& batch, double grad_scale) {
  const at::Tensor loss = model.head().cross_entropy(output.hidden, model.output_weight(),
                                                     labels(batch, output.hidden.device()), grad_scale) *
                          grad_scale;
  const at::Tensor auxiliary = model.auxiliary_loss(output.router_sums);
  return auxiliary.defined() ? loss + auxiliary.to(loss.scalar_type()) : loss;
}

}  // namespace

bool register_method(Method method) {
  return methods().emplace(method.name, std::move(method)).second;
}

const Method& find_method(const std::string& name) {
  const auto method = methods().find(name);
  if (method == methods().end()) {
    core::fail(core::ExitCode::kBadConfig, "method.name is {}; known are {}", name,
               fmt::join(method_names(), ", "));
  }
  return method->second;
}

std::vector<std::string> method_names() {
  static const bool built_in =
      register_method({"pretrain", "Next-token prediction on every token.", next_token_loss}) &&
      register_method(
          {"sft", "Supervised fine-tuning: next-token prediction where data.loss_on says.", next_token_loss});
  (void)built_in;
  std::vector<std::string> names;
  for (const auto& [name, method] : methods()) names.push_back(name);
  return names;
}

model::ModelInput model_input(const data::Batch& batch, at::Device device) {
  return {to_tensor(batch.input_ids, device), to_tensor(batch.position_ids, device), batch.cu_seqlens};
}

at::Tensor labels(const data::Batch& batch, at::Device device) {
  return to_tensor(batch.labels, device);
}

}  // namespace phalanx::trainer
