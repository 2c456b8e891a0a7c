#include "generate/streamed_model.h"

#include <ATen/core/Tensor.h>
#include <c10/core/GradMode.h>

#include "lora/adapted_product.h"
#include "model/linear.h"
#include "model/weight_streaming.h"

namespace phalanx::generate {
namespace {

// What the adapter holds, modules that it saves whole included, and else the base.
model::WeightRows base_and_adapter(const ModelSource& source, const std::optional<lora::Adapter>& adapter) {
  model::WeightRows base = model::rows_of(source.files.shared_weights(), source.files.path().string());
  if (!adapter) return base;
  model::WeightRows own = model::rows_of(adapter->stored(), source.adapter->path.string());
  return [base = std::move(base), own = std::move(own), weights = adapter->stored()](
             const std::string& name, int64_t begin, int64_t end) {
    return (weights->find(name) ? own : base)(name, begin, end);
  };
}

}  // namespace

StreamedModel::StreamedModel(ModelSource source) : source_(std::move(source)) {
  model::check_model(source_.files);
  model_ = model::build(source_.files.config());
  if (source_.adapter)
    adapter_ = lora::attach_adapter(*model_, *source_.adapter, at::kFloat, /*trainable=*/false);
  stored_ = base_and_adapter(source_, adapter_);
  model::stream_weights(*model_, stored_);
  // One A of matrices that PEFT joins is a parameter of the first of them: the others need it, too.
  hold([](const lora::AdaptedLinear& m) { return m.peft_module != m.module; });
}

void StreamedModel::hold(const std::function<bool(const lora::AdaptedLinear&)>& is_wanted) {
  if (!adapter_) return;
  for (const auto& [name, parameter] : model::all_parameters(*model_)) {
    if (model::is_allocated(parameter)) continue;
    for (const lora::AdaptedLinear& m : adapter_->modules())
      if (is_wanted(m) && (parameter.is_same(m.a) || parameter.is_same(m.b)))
        parameter.set_data(stored_(name, 0, parameter.size(0)));
  }
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
  hold([](const lora::AdaptedLinear&) { return true; });
}

}  // namespace phalanx::generate
