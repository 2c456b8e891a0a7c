// Everything that the framework knows about the Mixtral family: Llama's decoder with experts in place of each
// feed-forward layer.
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "formats/hf_config.h"
#include "formats/mixtral_weights.h"
#include "model/decoder.h"
#include "model/moe.h"

namespace phalanx::model {
namespace {

const FeedForwardKind kExperts = {"block_sparse_moe",
                                  [](const TransformerConfig& c, int64_t) -> std::shared_ptr<FeedForward> {
                                    return std::make_shared<SparseMoe>(c);
                                  }};

class MixtralForCausalLM : public DecoderLm {
 public:
  explicit MixtralForCausalLM(const TransformerConfig& c) : DecoderLm(c, kExperts) {
    router_loss_ = register_module("router_loss", std::make_shared<RouterLoss>(c));
  }

  at::Tensor auxiliary_loss(const at::Tensor& router_sums) const override {
    return router_loss_->forward(router_sums);
  }
  int64_t num_router_sums() const override {
    return router_loss_->is_wanted() ? 2 * config().num_local_experts + 2 : 0;
  }

 private:
  std::shared_ptr<RouterLoss> router_loss_;
};

// What transformers' MixtralConfig has for absent keys.
const TransformerConfig kDefaults = {.num_key_value_heads = 8,
                                     .max_position_embeddings = 131072,
                                     .rms_norm_eps = 1e-5,
                                     .rope_theta = 1e6,
                                     .num_local_experts = 8,
                                     .num_experts_per_tok = 2,
                                     .output_router_logits = false,
                                     .router_aux_loss_coef = 0.001};

constexpr int64_t kMaxExperts = 1 << 16;

double read_coefficient(const formats::HfConfig& file, const char* key, double absent) {
  const nlohmann::json* value = file.raw(key);
  if (value == nullptr || value->is_null()) return absent;
  if (!value->is_number()) file.fail_value(key, "a number");
  return value->get<double>();
}

// All of its layers would attend to the last sliding_window tokens only: the same where no sequence is
// longer.
void refuse_sliding_window(const formats::HfConfig& file, const TransformerConfig& c) {
  const auto window = file.find_integer("sliding_window", 0, int64_t{1} << 31);
  if (window && *window < c.max_position_embeddings) {
    core::fail(core::ExitCode::kBadInput,
               "{}: sliding_window is {}, which is not implemented; null or at least "
               "max_position_embeddings = {} is allowed",
               file.path().string(), *window, c.max_position_embeddings);
  }
}

void refuse_jitter(const formats::HfConfig& file) {
  const double jitter = read_coefficient(file, "router_jitter_noise", 0);
  if (jitter != 0) {
    core::fail(core::ExitCode::kBadInput, "{}: router_jitter_noise is {}; only 0 is implemented",
               file.path().string(), jitter);
  }
}

int64_t read_num_experts(const formats::HfConfig& file, int64_t absent) {
  // transformers takes either name.
  const auto local = file.find_integer("num_local_experts", 1, kMaxExperts),
             other = file.find_integer("num_experts", 1, kMaxExperts);
  if (local && other && *local != *other) {
    core::fail(core::ExitCode::kBadInput,
               "{}: num_local_experts is {}, but num_experts is {}; remove the one that is wrong",
               file.path().string(), *local, *other);
  }
  return local ? *local : other.value_or(absent);
}

void read_experts(const formats::HfConfig& file, TransformerConfig& c) {
  c.num_local_experts = read_num_experts(file, c.num_local_experts);
  c.num_experts_per_tok =
      file.find_integer("num_experts_per_tok", 1, kMaxExperts).value_or(c.num_experts_per_tok);
  c.output_router_logits = file.find_boolean("output_router_logits").value_or(c.output_router_logits);
  c.router_aux_loss_coef = read_coefficient(file, "router_aux_loss_coef", c.router_aux_loss_coef);
  c.router_z_loss_coef = read_coefficient(file, "router_z_loss_coef", c.router_z_loss_coef);
  refuse_jitter(file);
  refuse_sliding_window(file, c);
}

void write_experts(const TransformerConfig& c, nlohmann::json& file) {
  file["num_local_experts"] = c.num_local_experts;
  file["num_experts_per_tok"] = c.num_experts_per_tok;
  file["output_router_logits"] = c.output_router_logits;
  file["router_aux_loss_coef"] = c.router_aux_loss_coef;
  file["router_jitter_noise"] = 0.0;
  file["sliding_window"] = nullptr;
  if (c.router_z_loss_coef > 0) file["router_z_loss_coef"] = c.router_z_loss_coef;  // ours: others ignore it
}

[[maybe_unused]] const bool mixtral_registered = register_family({
    .name = "mixtral",
    .architecture = "MixtralForCausalLM",
    .defaults = kDefaults,
    .build = [](const TransformerConfig& c) { return std::make_shared<MixtralForCausalLM>(c); },
    .sharding_plan = {{"model.embed_tokens", Shard::kVocab},
                      {"model.layers.*.input_layernorm", Shard::kEnter},
                      {"model.layers.*.self_attn.{q,k,v}_proj", Shard::kColumn, ShardUnit::kHead},
                      {"model.layers.*.self_attn.o_proj", Shard::kRow, ShardUnit::kHead},
                      {"model.layers.*.post_attention_layernorm", Shard::kEnter},
                      // Over expert ranks whole experts, over tensor ranks each of their matrices.
                      {"model.layers.*.block_sparse_moe.experts.*", Shard::kExpert},
                      {"model.layers.*.block_sparse_moe.experts.*.{w1,w3}", Shard::kColumn},
                      {"model.layers.*.block_sparse_moe.experts.*.w2", Shard::kRowPart},
                      {"model.layers.*.block_sparse_moe.gate", Shard::kShared},
                      {"model.layers.*.block_sparse_moe", Shard::kLeave},
                      {"model.norm", Shard::kEnter},
                      {"lm_head", Shard::kVocab}},
    .read_config = read_experts,
    .write_config = write_experts,
    .rename_weights = formats::mixtral_weights,
});

}  // namespace
}  // namespace phalanx::model
