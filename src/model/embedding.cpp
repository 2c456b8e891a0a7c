#include "model/embedding.h"

#include "model/parameter.h"
#include "ops/embedding.h"

namespace phalanx::model {

Embedding::Embedding(int64_t vocab_size, int64_t hidden_size, std::optional<int64_t> pad_token_id)
    : pad_token_id_(pad_token_id) {
  weight = register_parameter("weight", unallocated({vocab_size, hidden_size}));
}

at::Tensor Embedding::base(const at::Tensor& ids, int64_t first_id) const {
  if (first_id == 0) return ops::embedding(ids, weight, pad_token_id_);
  std::optional<int64_t> padding = pad_token_id_;
  if (padding) *padding -= first_id;
  return ops::embedding(ids - first_id, weight, padding);
}

}  // namespace phalanx::model
