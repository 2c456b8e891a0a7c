#include "model/embedding.h"

#include "model/parameter.h"
#include "ops/embedding.h"

namespace phalanx::model {

Embedding::Embedding(int64_t vocab_size, int64_t hidden_size, std::optional<int64_t> pad_token_id)
    : pad_token_id_(pad_token_id) {
  weight = register_parameter("weight", unallocated({vocab_size, hidden_size}));
}

at::Tensor Embedding::forward(const at::Tensor& ids) const {
  return ops::embedding(ids, weight, pad_token_id_);
}

}  // namespace phalanx::model
