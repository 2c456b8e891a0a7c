#pragma once
#include <memory>

#include "data/batch.h"
#include "model/causal_lm.h"
#include "parallel/context_layout.h"
#include "parallel/mesh.h"

namespace phalanx::parallel {

/// Context parallelism: the tokens of each micro-batch are spread over mesh.cp() by context_layout.h; only
/// attention needs the tokens of others, by ring_attention.h or ulysses_attention.h. Everything else runs on
/// this rank's rows, with their positions in the whole sequences. Does nothing with one rank.
class ContextParallel {
 public:
  /// Installs itself as the attention of `model`, which it must outlive.
  ContextParallel(model::CausalLm& model, const Mesh& mesh, ContextKind kind);
  /// This rank's rows. `cu_seqlens` stays that of the whole batch: attention reads it.
  data::Batch local(const data::Batch& whole) const;

 private:
  const ContextLayout& layout(const std::vector<int32_t>& cu_seqlens) const;

  const Mesh& mesh_;
  ContextKind kind_;
  mutable ContextLayout last_;  // all layers of a micro-step ask for the same one
};

}  // namespace phalanx::parallel
