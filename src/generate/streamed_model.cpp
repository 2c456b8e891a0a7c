#include "generate/streamed_model.h"

#include <ATen/core/Tensor.h>
#include <c10/core/GradMode.h>

#include "model/linear.h"
#include "model/weight_streaming.h"

namespace phalanx::generate {
namespace {

model::WeightRows base_and_adapter(const ModelSource& source) {
  model::WeightRows base = model::rows_of(source.files.shared_weights(), source.files.path().string());
  if (!source.adapter) return base;
  const lora::AdapterFiles& files = *source.adapter;
  model::WeightRows factors = model::rows_of(files.weights, files.path.string());
  return [base = std::move(base), factors = std::move(factors), weights = files.weights](
             const std::string& name, int64_t begin, int64_t end) {
    return (weights->find(name) ? factors : base)(name, begin, end);
  };
}

}  // namespace

StreamedModel::StreamedModel(ModelSource source) : source_(std::move(source)) {
  model::check_model(source_.files);
  model_ = model::build(source_.files.config());
  if (source_.adapter)
    adapter_ = lora::attach_adapter(*model_, *source_.adapter, at::kFloat, /*trainable=*/false);
  stored_ = base_and_adapter(source_);
  model::stream_weights(*model_, stored_);
}

model::WeightSource StreamedModel::weights() const {
  const model::NamedTensors all = model::all_parameters(*model_);
  std::map<std::string, int64_t> rows;
  for (const auto& [name, parameter] : all) rows.emplace(name, parameter.size(0));
  return [rows = std::move(rows), stored = stored_, adapter = adapter_](const std::string& name) {
    const at::NoGradGuard no_grad;
    const lora::AdaptedLinear* adapted = adapter ? adapter->find(name) : nullptr;
    if (!adapted) return stored(name, 0, rows.at(name));
    const model::ResidentWeights here(*adapted->linear, adapted->module, stored);
    at::Tensor weight = adapted->linear->weight.detach();  // stays when the parameter gives it up
    lora::merge_into(weight, *adapted);
    return weight;
  };
}

model::WeightRows StreamedModel::rows() const {
  if (!adapter_) return stored_;
  return [adapter = adapter_, stored = stored_, merged = model::rows_of(weights())](
             const std::string& name, int64_t begin, int64_t end) {
    return (adapter->find(name) ? merged : stored)(name, begin, end);
  };
}

Answering StreamedModel::answering() const {
  return {*model_, [name = model::output_weight_name(*model_), rows = rows()](int64_t begin, int64_t end) {
            return rows(name, begin, end);
          }};
}

void StreamedModel::hold_adapter() {
  if (!adapter_) return;
  for (const lora::AdaptedLinear& m : adapter_->modules()) {
    m.a.set_data(stored_(m.module + ".lora_A.weight", 0, m.a.size(0)));
    m.b.set_data(stored_(m.module + ".lora_B.weight", 0, m.b.size(0)));
  }
}

}  // namespace phalanx::generate
