#include <ATen/ATen.h>
#include <fmt/ranges.h>

#include <map>

#include "core/error.h"
#include "core/files.h"
#include "formats/safetensors.h"
#include "formats/tensor_spec.h"
#include "lora/adapter_builder.h"
#include "lora/expert_parameters.h"
#include "model/stored_weights.h"

namespace phalanx::lora {
namespace {

namespace fs = std::filesystem;

constexpr const char* kConfigFile = "adapter_config.json";
constexpr const char* kWeightsFile = "adapter_model.safetensors";

// "missing: a, b, ...": at most a few names, so that one line can still be read.
void add_names(const char* what, const std::vector<std::string>& names, std::vector<std::string>& problems) {
  constexpr size_t kMax = 3;
  if (names.empty()) return;
  const std::vector<std::string> shown(names.begin(), names.begin() + std::min(kMax, names.size()));
  const std::string more =
      names.size() > kMax ? fmt::format(" and {} more", names.size() - kMax) : std::string();
  problems.push_back(fmt::format("{}: {}{}", what, fmt::join(shown, ", "), more));
}

/// Tensor by tensor what the configuration asks for, or one error that names all that is not.
void check_tensors(const AdapterFiles& files, const std::vector<PeftTensor>& wanted) {
  std::map<std::string, std::vector<int64_t>> left;
  for (const formats::TensorInfo& info : files.weights->tensors()) left.emplace(info.name, info.shape);
  std::vector<std::string> missing, extra, misshapen, problems;
  for (const PeftTensor& tensor : wanted) {
    const auto found = left.find(tensor.stored.name);
    if (found == left.end()) {
      missing.push_back(tensor.stored.name);
      continue;
    }
    if (found->second != tensor.shape)
      misshapen.push_back(fmt::format("{} is {}, not {}", tensor.stored.name,
                                      formats::shape_text(found->second), formats::shape_text(tensor.shape)));
    left.erase(found);
  }
  for (const auto& [name, shape] : left) extra.push_back(core::printable(name, 120));
  add_names("missing", missing, problems);
  add_names("no module of the base has a place for", extra, problems);
  add_names("of another shape", misshapen, problems);
  if (problems.empty()) return;
  core::fail(
      core::ExitCode::kBadInput,
      "{}: its tensors are not those that its {} asks for on this base; {}; an adapter fits the base and the "
      "target_modules that it was made with",
      files.path.string(), kConfigFile, fmt::join(problems, "; "));
}

std::vector<formats::StoredTensor> layout(const std::vector<PeftTensor>& tensors) {
  std::vector<formats::StoredTensor> stored;
  for (const PeftTensor& tensor : tensors) stored.push_back(tensor.stored);
  return stored;
}

/// The parameters of the model that the adapter holds.
model::NamedTensors parameters_of(const model::CausalLm& model, const std::vector<PeftTensor>& tensors) {
  const model::NamedTensors all = model.named_parameters();
  const std::map<std::string, at::Tensor> by_name(all.begin(), all.end());
  model::NamedTensors parameters;
  for (const PeftTensor& tensor : tensors) {
    for (const formats::StoredTensor::Part& part : tensor.stored.parts)
      parameters.emplace_back(part.name, by_name.at(part.name));
  }
  return parameters;
}

at::Tensor joined_part(const PeftTensor& tensor, const model::WeightSource& weights) {
  std::vector<at::Tensor> parts;
  for (const formats::StoredTensor::Part& part : tensor.stored.parts)
    parts.push_back(weights(part.name).detach().cpu().to(at::kFloat));
  const at::Tensor whole = parts.size() == 1 ? parts[0] : at::cat(parts);
  return (tensor.stored.is_transposed ? whole.t() : whole).contiguous();
}

}  // namespace

AdapterFiles open_adapter(const fs::path& folder) {
  return {folder / kWeightsFile, formats::read_adapter_config(folder / kConfigFile),
          std::make_shared<formats::SafetensorsFile>(folder / kWeightsFile), /*has_peft_names=*/true};
}

Adapter load_adapter(model::CausalLm& model, const AdapterFiles& given, at::ScalarType dtype,
                     bool trainable) {
  const Adapter adapter = attach_adapter(model, given, dtype, trainable);
  model::NamedTensors parameters = parameters_of(model, adapter.tensors());
  std::erase_if(parameters, [&](const auto& item) { return adapter.saves_whole(item.first); });
  model::fill_weights(parameters, {}, *adapter.stored(), dtype, given.path.string());
  return adapter;
}

Adapter attach_adapter(model::CausalLm& model, const AdapterFiles& given, at::ScalarType dtype,
                       bool trainable) {
  const bool has_parameters = !given.config.target_parameters.empty();
  if (has_parameters && trainable)
    core::fail(core::ExitCode::kBadConfig,
               "{}: adapts parameters of experts (target_parameters), which can be used and merged but not "
               "trained on; "
               "merge it into its base first",
               given.path.string());
  const AdapterFiles files = has_parameters ? as_adapter_of_experts(given, model) : given;
  AdapterBuilder builder(model, files.config, dtype, trainable);
  for (const PeftModule& module : peft_modules(model)) {
    const bool is_whole = formats::is_saved_whole(files.config, module.name);
    if (!is_whole && formats::targets(files.config, module.name)) builder.add(module);
  }
  Adapter adapter = builder.finish();
  if (files.has_peft_names) check_tensors(files, adapter.tensors());
  adapter.weights_ =
      files.has_peft_names ? formats::as_parameters(files.weights, layout(adapter.tensors())) : files.weights;
  adapter.where_ = files.path.string();
  model::check_weights(parameters_of(model, adapter.tensors()), *adapter.weights_, adapter.where_);
  return adapter;
}

void save_adapter(const fs::path& folder, const Adapter& adapter, const model::WeightSource& weights,
                  core::DType dtype, const std::string& base_model) {
  if (!adapter.config().target_parameters.empty())
    core::fail(
        core::ExitCode::kBadConfig,
        "an adapter on parameters of experts (target_parameters) is not written; merge it into its base");
  core::make_directories(folder.string());
  std::vector<formats::TensorSpec> specs;
  for (const PeftTensor& tensor : adapter.tensors())
    specs.push_back({tensor.stored.name, dtype, tensor.shape});
  formats::SafetensorsWriter writer(folder / kWeightsFile, specs);
  for (const PeftTensor& tensor : adapter.tensors()) {
    const at::Tensor values = joined_part(tensor, weights);
    writer.write_floats(tensor.stored.name,
                        {values.const_data_ptr<float>(), static_cast<size_t>(values.numel())});
  }
  writer.finish();
  formats::AdapterConfig config = adapter.config();
  config.base_model_name_or_path = base_model;
  formats::write_adapter_config(folder / kConfigFile, config);  // last: without it the folder is no adapter
}

}  // namespace phalanx::lora
