#pragma once
#include <functional>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "model/gguf_architecture.h"
#include "model/module.h"
#include "model/output_head.h"
#include "model/transformer_config.h"
#include "ops/attention_options.h"

namespace phalanx::formats {
class HfConfig;
class TensorFile;
struct StoredTensor;
}  // namespace phalanx::formats

namespace phalanx::model {

/// What one forward sees; tensors of data::Batch on the compute device.
struct ModelInput {
  at::Tensor input_ids;             // [N] int64
  at::Tensor position_ids;          // [N] int64
  std::vector<int32_t> cu_seqlens;  // [S + 1]
};

/// Keys and values of one sequence while it is being generated; a family appends to it layer by layer.
class KvCache;

/// What goes from one layer to the next: the residual stream as two addends (the sum is formed inside the
/// next norm, in one pass), and what the layers so far leave for an auxiliary loss.
struct Stream {
  at::Tensor residual;          // [N, h]
  at::Tensor update;            // [N, h], undefined before the first layer
  at::Tensor router_sums = {};  // ops::router_sums() of the layers so far, added up; undefined where none are
};

/// What a run of neighbouring layers leaves behind. Nothing at all stands before the first layer.
struct LayersOutput {
  at::Tensor hidden;            // [N, h]: the sum of the residual stream; behind the last layer, normalised
  at::Tensor router_sums = {};  // as in Stream
};

/// Runs one layer: `body` is its forward. What is put around it from outside (weights that are gathered
/// before and dropped after, activations that are made again in the backward) nests, and no layer knows of
/// it.
using LayerBody = std::function<Stream(const Stream&)>;
using LayerRunner = std::function<Stream(int64_t layer, const Stream& stream, const LayerBody& body)>;

/// softmax(scale q k^T) v, with what the options do to scores, over the samples of a micro-batch
/// (ops::varlen_attention's signature).
using AttentionFunction =
    std::function<at::Tensor(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                             const std::vector<int32_t>& cu_seqlens, const ops::AttentionOptions& options)>;

/// Layers [begin, end) of a model: 0 begins with the embedding, num_hidden_layers ends with the last norm.
struct LayerRange {
  int64_t begin = 0, end = 0;
};

/// A decoder-only language model on one device. It knows nothing of ranks: what a parallel scheme changes, it
/// changes through set_...().
class CausalLm : public Module {
 public:
  CausalLm();
  /// Final hidden states after the last norm, [N, hidden_size], in the dtype of the weights.
  at::Tensor hidden(const ModelInput& input) { return forward(input).hidden; }
  /// The same with what the auxiliary loss needs.
  LayersOutput forward(const ModelInput& input) { return run_layers(input, {}, all_layers()); }
  /// A part of forward(): from what stands before `range.begin` to what stands behind `range.end`. Joined
  /// parts have the bits of the whole, forward and backward.
  /// @param cache  where given, `input` holds the next tokens of its entries, and attention sees what they
  /// hold; without a gradient. Whoever has run all layers calls cache->advance(input.cu_seqlens).
  virtual LayersOutput run_layers(const ModelInput& input, const LayersOutput& before, LayerRange range,
                                  KvCache* cache = nullptr) = 0;
  /// What joins the mean training loss besides the losses of targets, coefficients included (the load balance
  /// of routers): a scalar from the sums behind the last layer, undefined where the model has none.
  virtual at::Tensor auxiliary_loss(const at::Tensor& router_sums) const;
  /// Elements of router_sums; 0 where there are none.
  virtual int64_t num_router_sums() const { return 0; }
  /// As hidden() for the next tokens of sequences whose earlier tokens are in `cache` (one sequence per cache
  /// entry).
  at::Tensor hidden_cached(const ModelInput& input, KvCache& cache);
  /// Output matrix [vocab_size, hidden_size]; the embedding's own tensor where tied. Of a model that scores
  /// sequences: score.weight [num_labels, hidden_size].
  virtual at::Tensor output_weight() = 0;
  /// score.bias of a model that scores tokens; else undefined.
  virtual at::Tensor output_bias() { return {}; }
  virtual const TransformerConfig& config() const = 0;
  LayerRange all_layers() const { return {0, config().num_hidden_layers}; }

  /// What hidden states mean: losses, log-probabilities, logits over the whole vocabulary.
  const OutputHead& head() const { return *head_; }
  const std::shared_ptr<const OutputHead>& shared_head() const { return head_; }
  void set_head(std::shared_ptr<const OutputHead> head) { head_ = std::move(head); }
  const LayerRunner& layer_runner() const { return layer_runner_; }
  void set_layer_runner(LayerRunner runner) { layer_runner_ = std::move(runner); }
  /// Called with the input of every forward before anything is computed.
  void set_forward_observer(std::function<void(const ModelInput&)> observer) {
    observer_ = std::move(observer);
  }
  void observe(const ModelInput& input) const {
    if (observer_) observer_(input);
  }
  const AttentionFunction& attention() const { return attention_; }
  void set_attention(AttentionFunction attention) { attention_ = std::move(attention); }

 private:
  std::shared_ptr<const OutputHead> head_;
  LayerRunner layer_runner_;
  AttentionFunction attention_;
  std::function<void(const ModelInput&)> observer_;
};

/// How a weight is cut over ranks: data that parallel/ reads, never code in a layer.
/// kVocab: rows of an embedding or output matrix. kColumn: rows of the weight, that is, columns of the
/// result; its input enters whole and it leaves a part. kRow: columns of the weight; a part enters and the
/// results of the parts are added. kEnter: a norm behind which layers of kind kColumn or kVocab read.
/// kStream: a norm whose rows stay in the residual stream. kHeads: works on each head by itself. kAllHeads:
/// works on all heads at once, so that tensor parallelism must refuse the model.
/// kExpert: one of those that expert parallelism spreads. Inside a mixture of experts, whose parts are added
/// where it ends (kLeave), kRowPart is a kRow whose results stay parts, and kShared is whole on every rank
/// but works on parts of a sum there, so that its gradients are parts, too. What no rule names is copied.
enum class Shard {
  kVocab,
  kColumn,
  kRow,
  kRowPart,
  kEnter,
  kStream,
  kHeads,
  kAllHeads,
  kLeave,
  kShared,
  kExpert
};
/// What must stay together: single features, or the features of a head with all that shares its keys.
enum class ShardUnit { kFeature, kHead };
struct ShardRule {
  std::string pattern;  ///< "model.layers.*.self_attn.{q,k,v}_proj"
  Shard shard;
  ShardUnit unit = ShardUnit::kFeature;
};

struct Family {
  std::string name;                 ///< config.json's model_type
  std::string architecture;         ///< the class that config.json names to transformers
  TransformerConfig defaults = {};  ///< values of keys that config.json leaves out
  std::function<std::shared_ptr<CausalLm>(const TransformerConfig&)> build;
  std::vector<ShardRule> sharding_plan;

  double initial_norm_weight = 1;  ///< of a new model

  // What the family has in its files beyond the keys and names of all; each may be empty.
  /// Gives the keys of a config.json that are the family's own words for common ones those names.
  std::function<void(nlohmann::json&)> to_common_keys = {};
  /// Reads the family's own keys of config.json; refuses values that are not implemented.
  std::function<void(const formats::HfConfig&, TransformerConfig&)> read_config = {};
  std::function<void(const TransformerConfig&, nlohmann::json&)> write_config = {};
  /// A Hugging Face folder's tensors under the names of the model's parameters, where files spell them in
  /// several ways.
  std::function<std::shared_ptr<const formats::TensorFile>(std::shared_ptr<const formats::TensorFile>)>
      rename_weights = {};
  /// Tensors of a Hugging Face folder that hold several parameters, or one transposed or under another name.
  std::function<std::vector<formats::StoredTensor>(const TransformerConfig&)> stored_tensors = {};
  /// GGUF files of the family; nothing where no engine reads any.
  std::optional<GgufArchitecture> gguf = {};
};

bool register_family(Family family);
const Family& find_family(const std::string& name);  ///< throws core::Error listing the known ones
std::vector<std::string> family_names();
std::vector<std::string> family_architectures();

}  // namespace phalanx::model
