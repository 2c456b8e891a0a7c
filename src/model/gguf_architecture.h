#pragma once
#include <functional>
#include <string>
#include <vector>

#include "formats/gguf_keys.h"
#include "formats/gguf_tensor.h"
#include "model/module.h"
#include "model/transformer_config.h"

namespace phalanx::model {

enum class GgufRows { kAsTheyAre, kQueryHeads, kKeyHeads };  ///< the latter two: formats::rows_to_gguf

/// Where a module's weight and bias stand in a GGUF file.
struct GgufModule {
  std::string gguf;  ///< "blk.*.attn_q", * being the layer
  /// "model.layers.*.self_attn.q_proj"; several stand below each other in one tensor. # is the number of an
  /// expert: the matrices of all of them stand upon each other in one tensor.
  std::vector<std::string> modules;
  GgufRows rows = GgufRows::kAsTheyAre;
};
using GgufModules = std::vector<GgufModule>;

/// Lines that several families have in their tables.
GgufModules gguf_ends();            ///< embedding, last norm, output
GgufModules gguf_pre_norms();       ///< kPreNorms of decoder.h
GgufModules gguf_post_norms();      ///< kPostNorms
GgufModules gguf_sandwich_norms();  ///< kSandwichNorms
GgufModules gguf_attention();
GgufModules gguf_paired_attention();  ///< with the rows of q and k in GGUF's order
GgufModules gguf_query_key_norms();
GgufModules gguf_gated_mlp();
/// @param block  "model.layers.*.mlp"; @param gate, up, down  names of an expert's matrices.
GgufModules gguf_experts(const std::string& block, const std::string& gate, const std::string& up,
                         const std::string& down);
GgufModules join(const std::vector<GgufModules>& tables);

enum class GgufTie { kEither, kAlways, kNever };  ///< whether the output matrix is the embedding's

/// How a family's models stand in GGUF files, and what llama.cpp makes of them: it computes an architecture
/// in one way, whatever the keys say beyond what is listed here. An export that it would run as another model
/// is refused.
struct GgufArchitecture {
  std::string name;  ///< general.architecture
  GgufModules modules;
  std::string epsilon_key = "attention.layer_norm_rms_epsilon";
  std::string hidden_act = "silu";
  bool has_rotary = true;
  std::vector<std::string> rope_types = {"linear", "yarn"};  ///< besides none
  bool has_biases = false;
  bool heads_fill_width = false;  ///< num_attention_heads * head_dim is hidden_size
  int64_t window_period = 0;      ///< all but every n-th layer have a sliding window; 0: none has
  GgufTie tie = GgufTie::kEither;
  bool norms_are_one_more = false;  ///< the file holds 1 + w

  /// Which files of the architecture are the family's; empty: all.
  std::function<bool(const formats::GgufMetadata&)> is_of_family = {};
  /// The family's own refusals. @throws core::Error kBadConfig, see refuse_gguf().
  std::function<void(const TransformerConfig&)> check = {};
  /// The family's own keys.
  std::function<void(const formats::GgufKeys&, TransformerConfig&)> read_keys = {};
  std::function<void(const TransformerConfig&, formats::GgufKeyWriter&)> write_keys = {};
};

/// @throws core::Error kBadConfig: "a model of family F cannot be written as GGUF: REASON; export it to hf".
[[noreturn]] void refuse_gguf(const TransformerConfig& config, const std::string& reason);

/// For mixtures of experts: their number, how many a token has, the size of one where it differs.
void read_gguf_experts(const formats::GgufKeys& keys, TransformerConfig& config);
void write_gguf_experts(const TransformerConfig& config, formats::GgufKeyWriter& keys);

/// The tensors of a GGUF file of such a model, in the order of the parameters.
/// @param parameters  of a whole model of this config, allocated or not.
/// @throws core::Error kBadConfig for a family that GGUF files are not written of.
std::vector<formats::GgufTensor> gguf_layout(const TransformerConfig& config, const NamedTensors& parameters);
std::vector<formats::GgufTensor> gguf_layout(const TransformerConfig& config);

}  // namespace phalanx::model
