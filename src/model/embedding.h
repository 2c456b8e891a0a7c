#pragma once
#include <ATen/core/Tensor.h>

#include <optional>

#include "model/module.h"

namespace phalanx::model {

/// Rows of `weight` [vocab_size, hidden_size] by token id: ids [N] int64 -> [N, hidden_size].
class Embedding : public Module {
 public:
  /// `pad_token_id` of config.json: as in the reference, looking that token up does not train its row (where
  /// an instruction model pads with its end token, that is the end token's).
  Embedding(int64_t vocab_size, int64_t hidden_size, std::optional<int64_t> pad_token_id);
  at::Tensor forward(const at::Tensor& ids) const;

  at::Tensor weight;

 private:
  std::optional<int64_t> pad_token_id_;
};

}  // namespace phalanx::model
