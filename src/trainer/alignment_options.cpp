#include "trainer/alignment_options.h"

#include <fmt/ranges.h>

#include <algorithm>

#include "core/error.h"

namespace phalanx::trainer {
namespace {

using Section = core::SectionBuilder<MethodOptions>;
using O = MethodOptions;

void declare_losses(Section& s) {
  s.field(
      "loss_type", &O::loss_type,
      {.help = "Loss. dpo: one or a list of sigmoid, hinge, ipo, exo_pair, nca_pair, robust, bco_pair, "
               "sppo_hard, aot, aot_unpaired, apo_zero, apo_down, discopop, sigmoid_norm, sft (default "
               "sigmoid); cpo: sigmoid, hinge, ipo, simpo, alphapo (sigmoid); kto: kto, apo_zero_unpaired "
               "(kto); of sampled answers: see the method.",
       .one_or_many = true});
  s.field("loss_weights", &O::loss_weights,
          {.help = "dpo: weight of each of loss_type; without it all weigh 1."});
  s.field("label_smoothing", &O::label_smoothing,
          {.help = "dpo, cpo: probability that a preference is the wrong way round (default 0). Read by "
                   "sigmoid, exo_pair, robust, aot, aot_unpaired, simpo.",
           .min = 0,
           .max = 0.5});
  s.field("discopop_tau", &O::discopop_tau,
          {.help = "dpo, loss_type discopop: temperature of its blend (default 0.05).",
           .min = 0,
           .above_min = true});
  s.field("use_weighting", &O::use_weighting,
          {.help = "dpo: pairs weigh as much as the policy is likely to write them (WPO; default false)."});
  s.field(
      "ld_alpha", &O::ld_alpha,
      {.help = "dpo: weight of the tokens by which one answer is longer than the other (LD-DPO); without it "
               "1.",
       .min = 0,
       .max = 1});
}

void declare_reference(Section& s) {
  s.field(
      "beta", &O::beta,
      {.help =
           "How much a distance from the reference model costs; orpo: weight of the odds ratio. dpo, cpo, "
           "orpo, kto, bco: default 0.1.",
       .min = 0});
  s.field("f_divergence_type", &O::f_divergence_type,
          {.help = "dpo: divergence from the reference (default reverse_kl).",
           .one_of = {"reverse_kl", "forward_kl", "js_divergence", "alpha_divergence"}});
  s.field("f_alpha_divergence_coef", &O::f_alpha_divergence_coef,
          {.help = "dpo: alpha of alpha_divergence (default 0.5)."});
  s.field(
      "ref_model", &O::ref_model,
      {.help = "dpo, kto, bco: another model as the reference; without it the model as the run begins with "
               "it.",
       .path = core::PathOf::kModel});
  s.field(
      "precompute_ref_log_probs", &O::precompute_ref_log_probs,
      {.help = "dpo, bco: asks the reference once for all records, before the training (default false)."});
}

}  // namespace

void declare_alignment_keys(Section& s) {
  declare_losses(s);
  declare_reference(s);
  s.field("cpo_alpha", &O::cpo_alpha,
          {.help = "cpo: weight of the loss of the chosen answers' tokens (default 1).", .min = 0});
  s.field("simpo_gamma", &O::simpo_gamma, {.help = "cpo, loss_type simpo: target margin (default 0.5)."});
  s.field(
      "alpha", &O::alpha,
      {.help = "cpo: shape of the reward, (1 - p^-alpha) / alpha in place of log p (AlphaPO; default 0: log "
               "p)."});
  s.field("desirable_weight", &O::desirable_weight,
          {.help = "kto: weight of the losses of wanted answers (default 1).", .min = 0});
  s.field("undesirable_weight", &O::undesirable_weight,
          {.help = "kto: weight of the losses of unwanted answers (default 1).", .min = 0});
  s.field(
      "center_rewards_coefficient", &O::center_rewards_coefficient,
      {.help = "reward: weight of the squared sum of both rewards, which keeps their mean near 0 (default "
               "0).",
       .min = 0});
  s.field("step_separator", &O::step_separator,
          {.help = "prm: text behind each step; a step is judged at its last token (default \"\\n\")."});
  s.field(
      "train_on_last_step_only", &O::train_on_last_step_only,
      {.help = "prm: only the last step of a record is learned (default false); evaluation looks at all."});
}

void fail_method_key(const core::Config& config, const std::string& key, const std::string& problem) {
  throw core::ConfigErrors(
      {fmt::format("{}: error: {} {}", config.position("method." + key), "method." + key, problem)});
}

std::string single_loss_type(const core::Config& config, const std::string& absent,
                             const std::vector<std::string>& known) {
  const auto& method = config.get<MethodOptions>();
  if (!method.loss_type) return absent;
  const std::vector<std::string>& names = *method.loss_type;
  if (names.size() == 1 && std::ranges::find(known, names[0]) != known.end()) return names[0];
  fail_method_key(config, "loss_type",
                  fmt::format("is {} but must be one of {} with method.name: {}",
                              core::printable(fmt::format("{}", fmt::join(names, ", "))),
                              fmt::join(known, ", "), method.name));
}

double positive_beta(const core::Config& config) {
  const double beta = config.get<MethodOptions>().beta.value_or(0.1);
  if (beta <= 0) fail_method_key(config, "beta", "is 0 but must be above 0 here; try 0.1");
  return beta;
}

double label_smoothing(const core::Config& config, bool is_read, const std::string& by) {
  const double value = config.get<MethodOptions>().label_smoothing.value_or(0);
  if (value != 0 && !is_read)
    fail_method_key(config, "label_smoothing",
                    fmt::format("is {} but loss_type {} does not read it; leave it out", value, by));
  return value;
}

}  // namespace phalanx::trainer
