#pragma once
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "formats/peft.h"
#include "formats/stored_tensor.h"
#include "model/causal_lm.h"
#include "model/linear.h"

namespace phalanx::lora {

using NamedLinears = std::vector<std::pair<std::string, std::shared_ptr<model::Linear>>>;

/// A matrix as PEFT's model, which is transformers', has it: one Linear of this model, or several that lie
/// below each other in one matrix there (Phi-3's qkv_proj and gate_up_proj, GPT-2's c_attn). An adapter of
/// such a matrix has one A for all of them; its B and its magnitude are theirs below each other.
struct PeftModule {
  std::string name;            ///< "transformer.h.0.attn.c_attn"
  NamedLinears parts;          ///< by their names in this model, in the order of the rows
  bool is_transposed = false;  ///< the base stores [in, out]; A and B have their usual shapes all the same
};

/// All that an adapter can be put on, in execution order: every Linear but the output matrix, which goes
/// through the fused loss. A router's gate and the matrices of experts count.
std::vector<PeftModule> peft_modules(const model::CausalLm& model);

/// One tensor of an adapter's file, and the parameters of the model that it holds.
struct PeftTensor {
  formats::StoredTensor stored;
  std::vector<int64_t> shape;  ///< in the file
};

/// The model's own tensors that lie in modules which `config` saves whole. The model is without an adapter.
std::vector<PeftTensor> tensors_saved_whole(const model::CausalLm& model,
                                            const formats::AdapterConfig& config);

/// Whether the adapter saves one of embedding and output matrix whole, or both, and the base has them as one:
/// each is then a matrix of its own.
bool unties(const formats::AdapterConfig& adapter, const model::TransformerConfig& base);

}  // namespace phalanx::lora
