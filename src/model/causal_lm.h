#pragma once
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "model/module.h"
#include "model/transformer_config.h"

namespace phalanx::model {

/// What one forward sees; tensors of data::Batch on the compute device.
struct ModelInput {
  at::Tensor input_ids;             // [N] int64
  at::Tensor position_ids;          // [N] int64
  std::vector<int32_t> cu_seqlens;  // [S + 1]
};

/// Keys and values of one sequence while it is being generated; a family appends to it layer by layer.
class KvCache;

/// A decoder-only language model on one device. It knows nothing of ranks.
class CausalLm : public Module {
 public:
  /// Final hidden states after the last norm, [N, hidden_size], in the dtype of the weights.
  virtual at::Tensor hidden(const ModelInput& input) = 0;
  /// As hidden() for the next tokens of sequences whose earlier tokens are in `cache` (one sequence per cache
  /// entry).
  virtual at::Tensor hidden_cached(const ModelInput& input, KvCache& cache) = 0;
  /// Output matrix [vocab_size, hidden_size]; the embedding's own tensor where tied.
  virtual at::Tensor output_weight() = 0;
  virtual const TransformerConfig& config() const = 0;
};

/// How a weight is cut over ranks: data that parallel/ reads, never code in a layer.
enum class Shard { kReplicate, kVocab, kColumn, kRow, kExpert };
struct ShardRule {
  std::string pattern;  ///< "layers.*.self_attn.{q,k,v}_proj"
  Shard shard;
};

struct Family {
  std::string name;  ///< config.json's model_type
  std::function<std::shared_ptr<CausalLm>(const TransformerConfig&)> build;
  std::vector<ShardRule> sharding_plan;
};

bool register_family(Family family);
const Family& find_family(const std::string& name);  ///< throws core::Error listing the known ones
std::vector<std::string> family_names();

}  // namespace phalanx::model
