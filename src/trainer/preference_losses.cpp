#include "trainer/preference_losses.h"

#include <ATen/ATen.h>
#include <fmt/ranges.h>

#include <cmath>
#include <map>

namespace phalanx::trainer {
namespace {

using at::log_sigmoid;

constexpr double kMaxExponent = 80;  // exp() of it is finite in fp32

struct AnswerScores {
  at::Tensor chosen, rejected;
  at::Tensor delta() const { return chosen - rejected; }
};

AnswerScores log_ratios(const PairLossInput& input) {
  return {input.policy.chosen - input.reference.chosen, input.policy.rejected - input.reference.rejected};
}

at::Tensor divergence_score(const at::Tensor& r, const PairLossOptions& o) {
  if (o.f_divergence_type == "forward_kl") return 1 - at::exp(-r);
  if (o.f_divergence_type == "js_divergence") return std::log(2.0) + log_sigmoid(r);
  const double power = o.f_alpha_divergence_coef - 1;
  if (o.f_divergence_type != "alpha_divergence" || std::abs(power) < 1e-6) return r;
  return (at::exp((power * r).clamp_max(kMaxExponent)) - 1) / power;
}

AnswerScores scores_of(const PairLossInput& input, const PairLossOptions& o) {
  const AnswerScores r = log_ratios(input);
  return {divergence_score(r.chosen, o), divergence_score(r.rejected, o)};
}

AnswerScores scores_per_token(const PairLossInput& input, const PairLossOptions& o) {
  const AnswerScores s = scores_of(input, o);
  return {s.chosen / input.num_tokens.chosen.clamp_min(1),
          s.rejected / input.num_tokens.rejected.clamp_min(1)};
}

at::Tensor smoothed_logistic(const at::Tensor& x, double eps) {
  const at::Tensor clean = -log_sigmoid(x);
  return eps == 0 ? clean : (1 - eps) * clean - eps * log_sigmoid(-x);
}

at::Tensor sigmoid_loss(const PairLossInput& input, const PairLossOptions& o) {
  return smoothed_logistic(o.beta * scores_of(input, o).delta(), o.label_smoothing);
}

at::Tensor hinge_loss(const PairLossInput& input, const PairLossOptions& o) {
  return at::relu(1 - o.beta * scores_of(input, o).delta());
}

at::Tensor ipo_loss(const PairLossInput& input, const PairLossOptions& o) {
  return (scores_per_token(input, o).delta() - 1 / (2 * o.beta)).square();
}

at::Tensor exo_pair_loss(const PairLossInput& input, const PairLossOptions& o) {
  const at::Tensor x = o.beta * scores_of(input, o).delta();
  return at::sigmoid(x) * (log_sigmoid(x) - std::log1p(-o.label_smoothing)) +
         at::sigmoid(-x) * (log_sigmoid(-x) - std::log(o.label_smoothing));
}

at::Tensor nca_pair_loss(const PairLossInput& input, const PairLossOptions& o) {
  const AnswerScores r = log_ratios(input);
  return -log_sigmoid(o.beta * r.chosen) -
         0.5 * (log_sigmoid(-o.beta * r.chosen) + log_sigmoid(-o.beta * r.rejected));
}

at::Tensor robust_loss(const PairLossInput& input, const PairLossOptions& o) {
  const at::Tensor x = o.beta * scores_of(input, o).delta();
  const double eps = o.label_smoothing;
  return (eps * log_sigmoid(-x) - (1 - eps) * log_sigmoid(x)) / (1 - 2 * eps);
}

at::Tensor bco_pair_loss(const PairLossInput& input, const PairLossOptions& o) {
  const AnswerScores r = log_ratios(input);
  return -log_sigmoid(o.beta * r.chosen) - log_sigmoid(-o.beta * r.rejected);
}

at::Tensor sppo_hard_loss(const PairLossInput& input, const PairLossOptions& o) {
  const AnswerScores r = log_ratios(input);
  return (r.chosen - 0.5 / o.beta).square() + (r.rejected + 0.5 / o.beta).square();
}

// Each element meets the other side's element of its rank. Where that is a number from elsewhere, it gets the
// gradient there, from the element that is a number here: so both sides appear, and the value once.
at::Tensor sorted_loss(const PairLogprobs& sides, const PairLossInput& input, const PairLossOptions& o) {
  const at::Tensor &a = sides.chosen, &b = sides.rejected;
  if (!input.partner.chosen.defined())
    return smoothed_logistic(o.beta * (a - sorted_partner(a, b)), o.label_smoothing);
  const at::Tensor first = smoothed_logistic(o.beta * (a - input.partner.chosen), o.label_smoothing);
  if (!b.requires_grad()) return first;
  const at::Tensor second = smoothed_logistic(o.beta * (input.partner.rejected - b), o.label_smoothing);
  return first + second - second.detach();
}

at::Tensor aot_loss(const PairLossInput& input, const PairLossOptions& o) {
  return sorted_loss(sorted_sides("aot", input), input, o);
}

at::Tensor aot_unpaired_loss(const PairLossInput& input, const PairLossOptions& o) {
  return sorted_loss(sorted_sides("aot_unpaired", input), input, o);
}

at::Tensor apo_zero_loss(const PairLossInput& input, const PairLossOptions& o) {
  const AnswerScores r = log_ratios(input);
  return 1 - at::sigmoid(o.beta * r.chosen) + at::sigmoid(o.beta * r.rejected);
}

at::Tensor apo_down_loss(const PairLossInput& input, const PairLossOptions& o) {
  const AnswerScores r = log_ratios(input);
  return at::sigmoid(o.beta * r.chosen) + 1 - at::sigmoid(o.beta * r.delta());
}

at::Tensor discopop_loss(const PairLossInput& input, const PairLossOptions& o) {
  const at::Tensor x = o.beta * scores_of(input, o).delta();
  const at::Tensor mix = at::sigmoid(x / o.discopop_tau);
  return -log_sigmoid(x) * (1 - mix) + at::exp(-x) * mix;
}

at::Tensor sigmoid_norm_loss(const PairLossInput& input, const PairLossOptions& o) {
  return -log_sigmoid(o.beta * scores_per_token(input, o).delta());
}

using PairLossFunction = at::Tensor (*)(const PairLossInput&, const PairLossOptions&);
const std::vector<std::pair<std::string, PairLossFunction>>& pair_losses() {
  static const std::vector<std::pair<std::string, PairLossFunction>> all = {
      {"sigmoid", sigmoid_loss},   {"hinge", hinge_loss},
      {"ipo", ipo_loss},           {"exo_pair", exo_pair_loss},
      {"nca_pair", nca_pair_loss}, {"robust", robust_loss},
      {"bco_pair", bco_pair_loss}, {"sppo_hard", sppo_hard_loss},
      {"aot", aot_loss},           {"aot_unpaired", aot_unpaired_loss},
      {"apo_zero", apo_zero_loss}, {"apo_down", apo_down_loss},
      {"discopop", discopop_loss}, {"sigmoid_norm", sigmoid_norm_loss}};
  return all;
}

// +1 where wanted, -1 where not.
at::Tensor sign_of(const at::Tensor& desirable) {
  return 2 * desirable - 1;
}

// log(1 - exp(x)) for x < 0, on either side of -log 2 in the form that keeps its digits there. Where a form
// is not taken its argument is replaced, so that no gradient of it is infinite.
at::Tensor log1mexp(const at::Tensor& x) {
  const at::Tensor is_small = x < -std::log(2.0);
  const at::Tensor safe = at::full_like(x, -1.0);
  return at::where(is_small, at::log1p(-at::exp(at::where(is_small, x, safe))),
                   at::log(-at::expm1(at::where(is_small, safe, x))));
}

}  // namespace

at::Tensor pair_loss(const std::string& name, const PairLossInput& input, const PairLossOptions& options) {
  for (const auto& [known, function] : pair_losses()) {
    if (known == name) return function(input, options);
  }
  TORCH_CHECK(false, "no loss over pairs is called ", name, "; known are ",
              fmt::format("{}", fmt::join(pair_loss_names(), ", ")));
}

const std::vector<std::string>& pair_loss_names() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> all;
    for (const auto& [name, function] : pair_losses()) all.push_back(name);
    return all;
  }();
  return names;
}

PairLogprobs sorted_sides(const std::string& name, const PairLossInput& input) {
  if (name == "aot")
    return {input.policy.chosen - input.policy.rejected, input.reference.chosen - input.reference.rejected};
  const AnswerScores r = log_ratios(input);
  return {r.chosen, r.rejected};
}

at::Tensor sorted_partner(const at::Tensor& of, const at::Tensor& among) {
  const at::Tensor order = at::argsort(of.detach(), /*stable=*/true, 0, false);
  const at::Tensor rank = at::argsort(order, /*stable=*/true, 0, false);
  const at::Tensor other_order = at::argsort(among.detach(), /*stable=*/true, 0, false);
  return among.index_select(0, other_order.index_select(0, rank));
}

at::Tensor cpo_reward(const at::Tensor& logprobs, double alpha) {
  return alpha == 0 ? logprobs : (1 - at::exp(logprobs).pow(-alpha)) / alpha;
}

at::Tensor cpo_loss(const PairLogprobs& policy, const CpoLossOptions& o) {
  const at::Tensor d = cpo_reward(policy.chosen, o.alpha) - cpo_reward(policy.rejected, o.alpha);
  if (o.loss_type == "hinge") return at::relu(1 - o.beta * d);
  if (o.loss_type == "ipo") return (d - 1 / (2 * o.beta)).square();
  const double gamma = o.loss_type == "simpo" ? o.simpo_gamma / o.beta : 0;
  return smoothed_logistic(o.beta * (d - gamma), o.label_smoothing);
}

at::Tensor log_odds_ratio(const PairLogprobs& policy) {
  return policy.chosen - policy.rejected - (log1mexp(policy.chosen) - log1mexp(policy.rejected));
}

at::Tensor kto_loss(const std::string& name, const at::Tensor& logratios, const at::Tensor& desirable,
                    double kl, double beta) {
  const at::Tensor gain = name == "kto" ? logratios - kl : logratios;
  return 1 - at::sigmoid(beta * sign_of(desirable) * gain);
}

at::Tensor bco_loss(const at::Tensor& logratios, const at::Tensor& desirable, double delta, double beta) {
  return -log_sigmoid(sign_of(desirable) * (beta * logratios - delta));
}

at::Tensor reward_loss(const at::Tensor& chosen, const at::Tensor& rejected, const at::Tensor& margin,
                       double center_rewards_coefficient) {
  const at::Tensor loss = -log_sigmoid(chosen - rejected - margin);
  if (center_rewards_coefficient == 0) return loss;
  return loss + center_rewards_coefficient * (chosen + rejected).square();
}

}  // namespace phalanx::trainer
