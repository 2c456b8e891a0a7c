#pragma once
#include <ATen/core/Tensor.h>

#include "model/module.h"

namespace phalanx::model {

/// Rows of `weight` [vocab_size, hidden_size] by token id: ids [N] int64 -> [N, hidden_size].
class Embedding : public Module {
 public:
  Embedding(int64_t vocab_size, int64_t hidden_size);
  at::Tensor forward(const at::Tensor& ids) const;

  at::Tensor weight;
};

}  // namespace phalanx::model
