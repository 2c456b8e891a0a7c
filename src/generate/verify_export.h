#pragma once
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "core/dtype.h"
#include "model/causal_lm.h"
#include "model/save.h"
#include "model/weight_rows.h"

namespace phalanx::generate {

/// How far two models are apart on the same tokens. All in nats, over every position of the prompts.
struct Comparison {
  int64_t num_tokens = 0;
  double max_difference = 0;  ///< largest |difference of log p| of the actual next token
  double mean_kl = 0;         ///< mean of KL(source || other) over the whole vocabulary
  double top1_agreement = 0;  ///< share of positions with the same most likely token
  /// Positions at which the source gives its most likely token a tenth of the probability or more, and the
  /// share of them with the same one: among nearly equal tokens any change moves the first place. 1 without
  /// such positions.
  int64_t num_decided = 0;
  double decided_agreement = 1;
};

/// What storing the weights in a type may cost.
struct Limits {
  double mean_kl;         ///< at most, nats a token
  double top1_agreement;  ///< at least, of decided positions
};
/// For one type: at least three times what it costs SmolLM2-135M, a small model that suffers more than large
/// ones.
Limits limits_of(core::DType dtype);

/// The type that a file holds the tensor of this Hugging Face name in.
using StoredTypes = std::function<core::DType(const std::string& name)>;

/// For a file of several types: those of the coarsest.
Limits limits_of(const model::CausalLm& model, const StoredTypes& types);

/// A model that answers prompts, whether it holds its weights or streams them.
struct Answering {
  model::CausalLm& model;
  std::function<at::Tensor(int64_t begin, int64_t end)> output_rows;  ///< of the output matrix
};
/// One that holds its weights.
Answering answering(model::CausalLm& model);

/// Runs both models in fp32 on all `prompts` at once, one model after the other, and walks through the
/// vocabulary with a few rows of both output matrices at a time.
/// @throws core::Error (kBadInput) for log-probabilities that are not finite.
Comparison compare(const Answering& source, const Answering& other,
                   const std::vector<std::vector<int32_t>>& prompts);
Comparison compare(model::CausalLm& source, model::CausalLm& other,
                   const std::vector<std::vector<int32_t>>& prompts);

/// Weights as a file of these types holds them: every tensor encoded and decoded again. What an export must
/// give back exactly.
model::WeightSource rounded(model::WeightSource weights, StoredTypes types,
                            model::Importance importance = {});
/// Every tensor in one type.
model::WeightSource rounded(model::WeightSource weights, core::DType dtype);

/// A model's weights, and how they were or are to be rounded.
struct Rounding {
  model::WeightRows weights;
  StoredTypes types;
  const model::Importance& importance;
};
struct RoundingCheck {
  std::optional<size_t> wrong;  ///< the first tensor that is not the rounded one, to the bit
  bool is_exact = true;         ///< rounding changed nothing
};
/// Holds every `tensors[i]` with `is_mine(i)`, a few rows at a time, against what rounding makes of the
/// source.
RoundingCheck check_rounding(const model::NamedTensors& tensors, const Rounding& source,
                             const model::WeightRows& made, const std::function<bool(size_t)>& is_mine);

/// A model's weights by Hugging Face's names, and the types that its files hold them in.
struct StoredModel {
  const model::TransformerConfig& config;
  model::WeightRows weights;
  StoredTypes types;
};

/// What first_wrong_tensor() found.
struct WrongTensor {
  int64_t index;
  std::string what;  ///< is wrong, as part of a sentence
};
/// The first tensor, in execution order, in which `made` is not `source` stored in another type: one that
/// only one of them has, of another shape, or with an element further off than rounding to both types takes
/// it (and a half more; another program may choose the scales of a block type differently: then three times).
/// A few rows are held at a time.
/// @param is_looked_at  of the source's parameters by their order, and of one place more for what only `made`
/// has: ranks may share them out, since WrongTensor::index says which of their findings is the first.
std::optional<WrongTensor> first_wrong_tensor(
    const StoredModel& source, const StoredModel& made,
    const std::function<bool(int64_t index)>& is_looked_at = [](int64_t) { return true; });

/// Copies weights by name into a model.
void assign(model::CausalLm& model, const model::WeightSource& weights);

/// English, code, numbers, other scripts: texts on which exports are compared.
const std::vector<std::string>& verification_texts();

}  // namespace phalanx::generate
