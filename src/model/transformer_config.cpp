#include "model/transformer_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "core/error.h"
#include "model/causal_lm.h"

namespace phalanx::model {
namespace {

using core::ExitCode;
using core::fail;

void require_positive(const std::string& where, const char* key, int64_t value) {
  if (value < 1) fail(ExitCode::kBadInput, "{}: {} is {} but must be at least 1", where, key, value);
  if (value > (int64_t{1} << 31))
    fail(ExitCode::kBadInput, "{}: {} is {}, more than 2^31", where, key, value);
}

/// No matrix has more than 2^40 elements, so that sums over all of them stay far below 2^63.
void require_product(const std::string& where, const char* what, int64_t rows, int64_t columns) {
  int64_t elements = 0;
  if (__builtin_mul_overflow(rows, columns, &elements) || elements > (int64_t{1} << 40))
    fail(ExitCode::kBadInput, "{}: {} is {} x {}, more than 2^40 elements", where, what, rows, columns);
}

void validate_products(const std::string& where, const TransformerConfig& c) {
  require_product(where, "vocab_size x hidden_size", c.vocab_size, c.hidden_size);
  require_product(where, "intermediate_size x hidden_size", c.intermediate_size, c.hidden_size);
  require_product(where, "num_attention_heads x head_dim", c.num_attention_heads, c.head_dim);
  require_product(where, "(num_attention_heads x head_dim) x hidden_size", c.num_attention_heads * c.head_dim,
                  c.hidden_size);
  if (c.num_local_experts == 0) return;
  require_product(where, "num_local_experts x the size of one", c.num_local_experts, c.expert_size());
  require_product(where, "(num_local_experts x the size of one) x hidden_size",
                  c.num_local_experts * c.expert_size(), c.hidden_size);
}

void validate_rope(const std::string& where, const TransformerConfig& c) {
  if (!(c.rope_theta > 0))
    fail(ExitCode::kBadInput, "{}: rope_theta is {} but must be above 0", where, c.rope_theta);
  if (!c.rope_scaling) return;
  const RopeScaling& s = *c.rope_scaling;
  if (!(s.factor >= 1))
    fail(ExitCode::kBadInput, "{}: rope factor is {} but must be at least 1", where, s.factor);
  if (s.rope_type == "llama3" && (!(s.low_freq_factor > 0) || !(s.high_freq_factor > s.low_freq_factor))) {
    fail(ExitCode::kBadInput,
         "{}: rope low_freq_factor is {} and high_freq_factor is {} but 0 < low < high is needed", where,
         s.low_freq_factor, s.high_freq_factor);
  }
  if (s.rope_type == "llama3" || s.rope_type == "yarn")
    require_positive(where, "rope original_max_position_embeddings", s.original_max_position_embeddings);
  if (s.rope_type == "dynamic" && c.head_dim < 4)
    fail(ExitCode::kBadInput, "{}: head_dim is {} but must be at least 4 with rope_type dynamic", where,
         c.head_dim);
}

void validate_experts(const std::string& where, const TransformerConfig& c) {
  if (c.num_local_experts == 0) return;
  require_positive(where, "num_local_experts", c.num_local_experts);
  require_positive(where, "num_experts_per_tok", c.num_experts_per_tok);
  if (c.num_experts_per_tok > c.num_local_experts) {
    fail(ExitCode::kBadInput, "{}: num_experts_per_tok is {} but must be at most num_local_experts = {}",
         where, c.num_experts_per_tok, c.num_local_experts);
  }
  require_positive(where, "decoder_sparse_step", c.decoder_sparse_step);
  for (const auto& [key, value] : {std::pair("router_aux_loss_coef", c.router_aux_loss_coef),
                                   {"router_z_loss_coef", c.router_z_loss_coef}}) {
    if (!(value >= 0)) fail(ExitCode::kBadInput, "{}: {} is {} but must not be negative", where, key, value);
  }
}

void validate_token_id(const std::string& where, const char* key, const std::optional<int64_t>& id,
                       int64_t vocab) {
  if (id && (*id < 0 || *id >= vocab)) {
    fail(ExitCode::kBadInput, "{}: {} is {} but the vocabulary has the ids 0 to {}", where, key, *id,
         vocab - 1);
  }
}

}  // namespace

void TransformerConfig::validate(const std::string& where) const {
  require_positive(where, "vocab_size", vocab_size);
  require_positive(where, "hidden_size", hidden_size);
  require_positive(where, "intermediate_size", intermediate_size);
  require_positive(where, "num_hidden_layers", num_hidden_layers);
  require_positive(where, "num_attention_heads", num_attention_heads);
  require_positive(where, "num_key_value_heads", num_key_value_heads);
  require_positive(where, "head_dim", head_dim);
  require_positive(where, "max_position_embeddings", max_position_embeddings);
  if (num_attention_heads % num_key_value_heads != 0) {
    fail(ExitCode::kBadInput,
         "{}: num_attention_heads is {} but must be a multiple of num_key_value_heads = {}", where,
         num_attention_heads, num_key_value_heads);
  }
  if (head_dim % 2 != 0) fail(ExitCode::kBadInput, "{}: head_dim is {} but must be even", where, head_dim);
  if (!(rms_norm_eps > 0)) {
    fail(ExitCode::kBadInput, "{}: rms_norm_eps is {} but must be above 0", where, rms_norm_eps);
  }
  if (!(initializer_range >= 0)) {
    fail(ExitCode::kBadInput, "{}: initializer_range is {} but must not be negative", where,
         initializer_range);
  }
  validate_rope(where, *this);
  validate_experts(where, *this);
  validate_products(where, *this);
  validate_token_id(where, "bos_token_id", bos_token_id, vocab_size);
  for (const int64_t id : eos_token_ids) validate_token_id(where, "eos_token_id", id, vocab_size);
  validate_token_id(where, "pad_token_id", pad_token_id, vocab_size);
}

int64_t TransformerConfig::num_parameters() const {
  int64_t count = 0;  // nothing is allocated for it
  for (const auto& [name, parameter] : find_family(model_type).build(*this)->named_parameters())
    count += parameter.numel();
  return count;
}

bool TransformerConfig::is_sliding(int64_t layer) const {
  return sliding_window > 0 && (sliding_layers.empty() || sliding_layers.at(static_cast<size_t>(layer)));
}

bool TransformerConfig::is_sparse(int64_t layer) const {
  return num_local_experts > 0 && (layer + 1) % decoder_sparse_step == 0 &&
         std::find(mlp_only_layers.begin(), mlp_only_layers.end(), layer) == mlp_only_layers.end();
}

}  // namespace phalanx::model
