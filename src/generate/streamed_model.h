#pragma once
#include <functional>
#include <optional>
#include <string>

#include "generate/open_model.h"
#include "generate/verify_export.h"
#include "lora/adapter.h"
#include "model/weight_rows.h"

namespace phalanx::generate {

/// A model of any size that is converted, compared or measured in a bounded memory: its matrices are read
/// when they are used, in fp32, one at a time (model/weight_streaming.h).
class StreamedModel {
 public:
  /// Checks that files, config and adapter fit together. @throws core::Error as model::check_model().
  explicit StreamedModel(ModelSource source);

  const ModelSource& source() const { return source_; }
  const data::Tokenizer& tokenizer() const { return *source_.tokenizer; }
  const model::TransformerConfig& config() const { return source_.files.config(); }
  /// Runs with the adapter, unmerged; its matrices have shapes, but no memory.
  model::CausalLm& model() const { return *model_; }
  const std::optional<lora::Adapter>& adapter() const { return adapter_; }

  /// What the files hold, factors of the adapter included ("...q_proj.lora_A.weight").
  const model::WeightRows& stored() const { return stored_; }
  /// The weights of the model that this is, the adapter merged in. A weight is made anew for each call.
  model::WeightSource weights() const;
  /// The same by rows: of an adapted matrix the whole is held while its rows are asked for.
  model::WeightRows rows() const;
  Answering answering() const;

  /// Reads the factors of the adapter and keeps them, for what wants all of them at once.
  void hold_adapter();

 private:
  void hold(const std::function<bool(const lora::AdaptedLinear&)>& is_wanted);

  ModelSource source_;
  std::shared_ptr<model::CausalLm> model_;
  std::optional<lora::Adapter> adapter_;
  model::WeightRows stored_;
};

}  // namespace phalanx::generate
