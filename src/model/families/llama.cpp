// Everything that the framework knows about the Llama family: plain code for one device and a table of how it
// is cut.
#include <nlohmann/json.hpp>

#include "formats/hf_config.h"
#include "model/decoder.h"
#include "ops/swiglu.h"

namespace phalanx::model {
namespace {

class Mlp : public FeedForward {
 public:
  explicit Mlp(const TransformerConfig& c) {
    gate_proj_ = register_module("gate_proj",
                                 std::make_shared<Linear>(c.hidden_size, c.intermediate_size, c.mlp_bias));
    up_proj_ =
        register_module("up_proj", std::make_shared<Linear>(c.hidden_size, c.intermediate_size, c.mlp_bias));
    down_proj_ = register_module("down_proj",
                                 std::make_shared<Linear>(c.intermediate_size, c.hidden_size, c.mlp_bias));
  }

  Output forward(const at::Tensor& x) const override {
    return {down_proj_->forward(ops::swiglu(gate_proj_->forward(x), up_proj_->forward(x)))};
  }

 private:
  std::shared_ptr<Linear> gate_proj_, up_proj_, down_proj_;
};

const FeedForwardKind kMlp = {"mlp", [](const TransformerConfig& c, int64_t) -> std::shared_ptr<FeedForward> {
                                return std::make_shared<Mlp>(c);
                              }};

void read_biases(const formats::HfConfig& file, TransformerConfig& c) {
  c.attention_bias = file.find_boolean("attention_bias").value_or(false);
  c.mlp_bias = file.find_boolean("mlp_bias").value_or(false);
}

void write_biases(const TransformerConfig& c, nlohmann::json& file) {
  file["attention_bias"] = c.attention_bias;
  file["mlp_bias"] = c.mlp_bias;
}

[[maybe_unused]] const bool llama_registered = register_family({
    .name = "llama",
    .architecture = "LlamaForCausalLM",
    .build = [](const TransformerConfig& c) { return std::make_shared<DecoderLm>(c, kMlp); },
    .sharding_plan = {{"model.embed_tokens", Shard::kVocab},
                      {"model.layers.*.input_layernorm", Shard::kEnter},
                      {"model.layers.*.self_attn.{q,k,v}_proj", Shard::kColumn, ShardUnit::kHead},
                      {"model.layers.*.self_attn.o_proj", Shard::kRow, ShardUnit::kHead},
                      {"model.layers.*.post_attention_layernorm", Shard::kEnter},
                      {"model.layers.*.mlp.{gate,up}_proj", Shard::kColumn},
                      {"model.layers.*.mlp.down_proj", Shard::kRow},
                      {"model.norm", Shard::kEnter},
                      {"lm_head", Shard::kVocab}},
    .read_config = read_biases,
    .write_config = write_biases,
});

}  // namespace
}  // namespace phalanx::model
