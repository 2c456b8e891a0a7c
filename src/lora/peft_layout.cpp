#include "lora/peft_layout.h"

#include <algorithm>
#include <map>
#include <set>

namespace phalanx::lora {
namespace {

const std::string kWeight = ".weight", kEmbedding = "model.embed_tokens.weight";

std::vector<formats::StoredTensor> layout_of(const model::TransformerConfig& config) {
  const model::Family& family = model::find_family(config.model_type);
  return family.stored_tensors ? family.stored_tensors(config) : std::vector<formats::StoredTensor>{};
}

std::string without(const std::string& name, const std::string& suffix) {
  return name.substr(0, name.size() - suffix.size());
}

NamedLinears linears_of(const model::CausalLm& model) {
  NamedLinears linears;
  for (const auto& [name, module] : model.named_modules()) {
    auto linear = std::dynamic_pointer_cast<model::Linear>(module);
    if (linear && name != "lm_head") linears.emplace_back(name, std::move(linear));
  }
  return linears;
}

/// Whether the module that owns the tensor, or one around it, is saved whole.
bool lies_in_saved(const formats::AdapterConfig& config, const std::string& tensor) {
  for (size_t end = tensor.rfind('.'); end != std::string::npos && end > 0;
       end = tensor.rfind('.', end - 1)) {
    if (formats::is_saved_whole(config, std::string_view(tensor).substr(0, end))) return true;
  }
  return false;
}

PeftTensor as_peft_has_it(const formats::StoredTensor& stored,
                          const std::map<std::string, at::Tensor>& parameters) {
  std::vector<int64_t> shape = parameters.at(stored.parts.front().name).sizes().vec();
  shape[0] = 0;
  for (const formats::StoredTensor::Part& part : stored.parts) shape[0] += part.rows;
  if (stored.is_transposed) std::swap(shape[0], shape[1]);
  return {{formats::saved_tensor_name(stored.name), stored.parts, stored.is_transposed}, shape};
}

}  // namespace

std::vector<PeftModule> peft_modules(const model::CausalLm& model) {
  const NamedLinears linears = linears_of(model);
  const std::map<std::string, std::shared_ptr<model::Linear>> by_name(linears.begin(), linears.end());
  std::map<std::string, PeftModule> first_of;
  std::set<std::string> others;
  for (const formats::StoredTensor& stored : layout_of(model.config())) {
    PeftModule module{without(stored.name, kWeight), {}, stored.is_transposed};
    for (const formats::StoredTensor::Part& part : stored.parts) {
      const auto found = by_name.find(without(part.name, kWeight));
      if (part.name.ends_with(kWeight) && found != by_name.end()) module.parts.push_back(*found);
    }
    if (module.parts.size() != stored.parts.size()) continue;  // a norm, an embedding, a bias
    for (size_t i = 1; i < module.parts.size(); ++i) others.insert(module.parts[i].first);
    first_of.emplace(module.parts.front().first, std::move(module));
  }
  std::vector<PeftModule> modules;
  for (const auto& [name, linear] : linears) {
    if (others.contains(name)) continue;
    const auto found = first_of.find(name);
    modules.push_back(found != first_of.end() ? found->second : PeftModule{name, {{name, linear}}});
  }
  return modules;
}

std::vector<PeftTensor> tensors_saved_whole(const model::CausalLm& model,
                                            const formats::AdapterConfig& config) {
  if (config.modules_to_save.empty()) return {};
  const model::NamedTensors all = model.named_parameters();
  const std::map<std::string, at::Tensor> parameters(all.begin(), all.end());
  std::map<std::string, formats::StoredTensor> first_of;
  std::set<std::string> others;
  for (const formats::StoredTensor& stored : layout_of(model.config())) {
    for (size_t i = 1; i < stored.parts.size(); ++i) others.insert(stored.parts[i].name);
    first_of.emplace(stored.parts.front().name, stored);
  }
  std::vector<PeftTensor> tensors;
  for (const auto& [name, parameter] : all) {
    if (others.contains(name)) continue;
    const auto found = first_of.find(name);
    const formats::StoredTensor stored =
        found != first_of.end() ? found->second : formats::StoredTensor{name, {{name, parameter.size(0)}}};
    if (lies_in_saved(config, stored.name)) tensors.push_back(as_peft_has_it(stored, parameters));
  }
  return tensors;
}

bool unties(const formats::AdapterConfig& adapter, const model::TransformerConfig& base) {
  if (!base.tie_word_embeddings || adapter.modules_to_save.empty()) return false;
  std::string embedding = kEmbedding;
  for (const formats::StoredTensor& stored : layout_of(base)) {
    if (stored.parts.front().name == kEmbedding) embedding = stored.name;
  }
  return lies_in_saved(adapter, embedding) || formats::is_saved_whole(adapter, "lm_head");
}

}  // namespace phalanx::lora
