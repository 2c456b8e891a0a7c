#include "model/moe_config.h"

#include "core/error.h"

namespace phalanx::model {
namespace {

constexpr int64_t kMaxExperts = 1 << 16;

double read_coefficient(const formats::HfConfig& file, const char* key, double absent) {
  const nlohmann::json* value = file.raw(key);
  if (value == nullptr || value->is_null()) return absent;
  if (!value->is_number()) file.fail_value(key, "a number");
  return value->get<double>();
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

}  // namespace

void read_experts(const formats::HfConfig& file, TransformerConfig& c) {
  c.num_local_experts = read_num_experts(file, c.num_local_experts);
  c.num_experts_per_tok =
      file.find_integer("num_experts_per_tok", 1, kMaxExperts).value_or(c.num_experts_per_tok);
  c.output_router_logits = file.find_boolean("output_router_logits").value_or(c.output_router_logits);
  c.router_aux_loss_coef = read_coefficient(file, "router_aux_loss_coef", c.router_aux_loss_coef);
  c.router_z_loss_coef = read_coefficient(file, "router_z_loss_coef", c.router_z_loss_coef);
  refuse_jitter(file);
}

void write_experts(const TransformerConfig& c, nlohmann::json& file) {
  file["num_local_experts"] = c.num_local_experts;
  file["num_experts_per_tok"] = c.num_experts_per_tok;
  file["output_router_logits"] = c.output_router_logits;
  file["router_aux_loss_coef"] = c.router_aux_loss_coef;
  if (c.router_z_loss_coef > 0) file["router_z_loss_coef"] = c.router_z_loss_coef;  // ours: others ignore it
}

}  // namespace phalanx::model
