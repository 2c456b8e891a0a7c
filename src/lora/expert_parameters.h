#pragma once
#include "lora/adapter.h"

namespace phalanx::lora {

/// transformers 5 holds the experts of a layer as two parameters, and PEFT adapts those
/// (`target_parameters`): one A [E r, in] and one B [out, r E] for all experts, where expert e has rows e r
/// to (e + 1) r of A and, of B seen as [out, r, E], the slice e; gate_up_proj is two matrices of this model.
/// @param files  whose configuration has target_parameters.
/// @return  the same adapter on the matrices of `model`: one A and B for each, in memory, under the names
/// that they have in transformers 4.
/// @throws core::Error (kBadInput) for parameters that are none of experts or routers, and for tensors that
/// are missing or of another shape.
AdapterFiles as_adapter_of_experts(const AdapterFiles& files, const model::CausalLm& model);

}  // namespace phalanx::lora
