#include <fmt/ranges.h>

#include <map>
#include <set>

#include "core/error.h"
#include "core/files.h"
#include "formats/safetensors.h"
#include "lora/adapter_builder.h"
#include "lora/targets.h"
#include "model/stored_weights.h"

namespace phalanx::lora {
namespace {

using formats::LoraPart;
namespace fs = std::filesystem;

constexpr const char* kConfigFile = "adapter_config.json";
constexpr const char* kWeightsFile = "adapter_model.safetensors";

std::string parameter_name(const std::string& module, LoraPart part) {
  return module + (part == LoraPart::kA ? ".lora_A.weight" : ".lora_B.weight");
}

/// The file under the names that the model gives its parameters.
class AdapterWeights : public formats::TensorFile {
 public:
  explicit AdapterWeights(const fs::path& path) : file_(path) {
    for (const formats::TensorInfo& stored : file_.tensors()) {
      const auto name = formats::parse_adapter_tensor_name(stored.name);
      tensors_.push_back(stored);
      // What is no A or B keeps its name, and is refused with everything else that the model has no place
      // for.
      if (name) tensors_.back().name = parameter_name(name->module, name->part);
      stored_.emplace(tensors_.back().name, stored);
    }
  }
  const std::vector<formats::TensorInfo>& tensors() const override { return tensors_; }
  std::span<const std::byte> bytes(const formats::TensorInfo& tensor) const override {
    return file_.bytes(stored_.at(tensor.name));
  }
  void check_unchanged() const override { file_.check_unchanged(); }
  void release_pages() const override { file_.release_pages(); }

 private:
  formats::SafetensorsFile file_;
  std::vector<formats::TensorInfo> tensors_;
  std::map<std::string, formats::TensorInfo> stored_;
};

void check_rank(const AdapterFiles& files, const std::string& module) {
  const formats::TensorInfo* a = files.weights->find(parameter_name(module, LoraPart::kA));
  const int64_t wanted = formats::rank_of(files.config, module);
  if (a != nullptr && a->shape.size() == 2 && a->shape[0] != wanted) {
    core::fail(core::ExitCode::kBadInput, "{}: lora_A of {} has rank {} but its configuration says {}",
               files.path.string(), core::printable(module), a->shape[0], wanted);
  }
}

}  // namespace

AdapterFiles open_adapter(const fs::path& folder) {
  return {folder / kWeightsFile, formats::read_adapter_config(folder / kConfigFile),
          std::make_shared<AdapterWeights>(folder / kWeightsFile)};
}

Adapter load_adapter(model::CausalLm& model, const AdapterFiles& files, at::ScalarType dtype,
                     bool trainable) {
  Adapter adapter = attach_adapter(model, files, dtype, trainable);
  model::NamedTensors factors;
  for (const AdaptedLinear& m : adapter.modules()) {
    factors.emplace_back(parameter_name(m.module, LoraPart::kA), m.a);
    factors.emplace_back(parameter_name(m.module, LoraPart::kB), m.b);
  }
  model::fill_weights(factors, {}, *files.weights, dtype, files.path.string());
  return adapter;
}

Adapter attach_adapter(model::CausalLm& model, const AdapterFiles& files, at::ScalarType dtype,
                       bool trainable) {
  const formats::AdapterConfig& config = files.config;
  AdapterBuilder builder(model, config, dtype);
  model::NamedTensors parameters;
  for (const auto& [name, linear] : linears_of(model)) {
    const std::string module = name;
    if (!formats::targets(config, module)) continue;
    check_rank(files, module);
    const AdaptedLinear& added = builder.add(module, linear, formats::rank_of(config, module),
                                             formats::scale_of(config, module), trainable);
    parameters.emplace_back(parameter_name(module, LoraPart::kA), added.a);
    parameters.emplace_back(parameter_name(module, LoraPart::kB), added.b);
  }
  model::check_weights(parameters, *files.weights, files.path.string());
  return builder.finish();
}

void save_adapter(const fs::path& folder, const Adapter& adapter, const model::WeightSource& weights,
                  core::DType dtype, const std::string& base_model) {
  core::make_directories(folder.string());
  std::vector<formats::TensorSpec> specs;
  for (const AdaptedLinear& m : adapter.modules()) {
    specs.push_back({formats::adapter_tensor_name(m.module, LoraPart::kA), dtype, m.a.sizes().vec()});
    specs.push_back({formats::adapter_tensor_name(m.module, LoraPart::kB), dtype, m.b.sizes().vec()});
  }
  formats::SafetensorsWriter writer(folder / kWeightsFile, specs);
  for (const AdaptedLinear& m : adapter.modules()) {
    for (const LoraPart part : {LoraPart::kA, LoraPart::kB}) {
      const at::Tensor values =
          weights(parameter_name(m.module, part)).detach().cpu().to(at::kFloat).contiguous();
      writer.write_floats(formats::adapter_tensor_name(m.module, part),
                          {values.const_data_ptr<float>(), static_cast<size_t>(values.numel())});
    }
  }
  writer.finish();
  formats::AdapterConfig config = adapter.config();
  config.base_model_name_or_path = base_model;
  formats::write_adapter_config(folder / kConfigFile, config);  // last: without it the folder is no adapter
}

}  // namespace phalanx::lora
