#pragma once
#include <ATen/core/Tensor.h>

#include <functional>
#include <optional>

#include "model/module.h"

namespace phalanx::model {

/// Rows of `weight` [vocab_size, hidden_size] by token id: ids [N] int64 -> [N, hidden_size].
class Embedding : public Module {
 public:
  /// `pad_token_id` of config.json: as in the reference, looking that token up does not train its row (where
  /// an instruction model pads with its end token, that is the end token's).
  Embedding(int64_t vocab_size, int64_t hidden_size, std::optional<int64_t> pad_token_id);
  at::Tensor forward(const at::Tensor& ids) const { return lookup_ ? lookup_(*this, ids) : base(ids, 0); }
  /// Rows of ids - first_id, for a weight that holds the rows from `first_id` on.
  at::Tensor base(const at::Tensor& ids, int64_t first_id) const;

  using Lookup = std::function<at::Tensor(const Embedding& embedding, const at::Tensor& ids)>;
  const Lookup& lookup() const { return lookup_; }  ///< what is installed; empty: base(ids, 0)
  void set_lookup(Lookup lookup) { lookup_ = std::move(lookup); }

  at::Tensor weight;

 private:
  Lookup lookup_;
  std::optional<int64_t> pad_token_id_;
};

}  // namespace phalanx::model
