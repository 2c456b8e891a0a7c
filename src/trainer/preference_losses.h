#pragma once
#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

/// Losses of judged answers, as pure functions. All tensors are fp32 or fp64 of one shape: [B] for B pairs,
/// or for B answers. Results are not reduced, [B]: who calls divides by the number in the global batch, so
/// that nothing depends on how that is cut. Differentiable in what the policy gives. Names and defaults are
/// TRL's.
namespace phalanx::trainer {

/// log p(answer | prompt) in nats, summed over the tokens of the answer.
struct PairLogprobs {
  at::Tensor chosen, rejected;
};

struct PairLossInput {
  PairLogprobs policy, reference;
  PairLogprobs num_tokens;  ///< of the answers
  /// `aot` types where only a part of the global batch is here: see sorted_partner(). Undefined: all of it
  /// is.
  PairLogprobs partner = {};
};

struct PairLossOptions {
  double beta = 0.1;
  double label_smoothing = 0;                    ///< eps
  std::string f_divergence_type = "reverse_kl";  ///< or forward_kl, js_divergence, alpha_divergence
  double f_alpha_divergence_coef = 0.5;
  double discopop_tau = 0.05;
};

/// DPO and its relatives. With the log ratio r = log policy - log reference of an answer, its score
///
///     s = r                           reverse_kl          s = 1 - exp(-r)                     forward_kl
///     s = log 2 + log sigmoid(r)      js_divergence       s = (exp((a - 1) r) - 1) / (a - 1)
///     alpha_divergence
///
/// (f'(exp r) of Wang et al. 2023, arXiv:2309.16240; the exponent is at most 80), d = s_chosen - s_rejected,
/// n the numbers of tokens and L(x) = -(1 - eps) log sigmoid(x) - eps log sigmoid(-x):
///
///     sigmoid        L(beta d)                  Rafailov et al. 2023, arXiv:2305.18290; with eps
///     "conservative" hinge          max(0, 1 - beta d)         Zhao et al. 2023, arXiv:2305.10425 ipo (s_c /
///     n_c - s_r / n_r - 1 / (2 beta))^2              Azar et al. 2023, arXiv:2310.12036 exo_pair       KL of
///     (sigmoid(beta d), sigmoid(-beta d)) from (1 - eps, eps)
///                                               Ji et al. 2024, arXiv:2402.00856
///     nca_pair       -log sigmoid(beta r_c) - (log sigmoid(-beta r_c) + log sigmoid(-beta r_r)) / 2
///                                               Chen et al. 2024, arXiv:2402.05369
///     robust         (-(1 - eps) log sigmoid(beta d) + eps log sigmoid(-beta d)) / (1 - 2 eps)
///                                               Chowdhury et al. 2024, arXiv:2403.00409
///     bco_pair       -log sigmoid(beta r_c) - log sigmoid(-beta r_r)       Jung et al. 2024,
///     arXiv:2404.04656 sppo_hard      (r_c - 1 / (2 beta))^2 + (r_r + 1 / (2 beta))^2       Wu et al. 2024,
///     arXiv:2405.00675 aot            L(beta (a_(k) - b_(k))), k-th smallest of a = log policy_c - log
///     policy_r, b = the same
///                    of the reference           Melnyk et al. 2024, arXiv:2406.05882
///     aot_unpaired   the same of a = r_c, b = r_r
///     apo_zero       1 - sigmoid(beta r_c) + sigmoid(beta r_r)             D'Oosterlinck et al. 2024,
///     apo_down       sigmoid(beta r_c) + 1 - sigmoid(beta (r_c - r_r))     arXiv:2408.06266
///     discopop       m = sigmoid(beta d / tau): -(1 - m) log sigmoid(beta d) + m exp(-beta d)
///                                               Lu et al. 2024, arXiv:2406.08414
///     sigmoid_norm   -log sigmoid(beta (s_c / n_c - s_r / n_r))
///
/// @throws c10::Error for an unknown name (pair_loss_names()).
at::Tensor pair_loss(const std::string& name, const PairLossInput& input, const PairLossOptions& options);
const std::vector<std::string>& pair_loss_names();

/// The a and b that an `aot` type sorts, under `chosen` and `rejected`.
PairLogprobs sorted_sides(const std::string& name, const PairLossInput& input);
/// For each element of `of` [B] the element of `among` [B] that has its rank.
at::Tensor sorted_partner(const at::Tensor& of, const at::Tensor& among);

/// Losses without a reference (Xu et al. 2024, arXiv:2401.08417), d = log policy_c - log policy_r:
///
///     sigmoid, hinge   as above    ipo   (d - 1 / (2 beta))^2, of log-probabilities per token
///     simpo            L(beta d - gamma), per token (Meng et al. 2024, arXiv:2405.14734)
///
/// With alpha != 0 the rewards (1 - p^-alpha) / alpha take the place of log p (Gupta et al. 2025,
/// arXiv:2501.03884). @param policy  for ipo and simpo divided by the numbers of tokens.
struct CpoLossOptions {
  std::string loss_type = "sigmoid";
  double beta = 0.1, label_smoothing = 0, simpo_gamma = 0.5, alpha = 0;
};
at::Tensor cpo_loss(const PairLogprobs& policy, const CpoLossOptions& options);
/// log p, or with alpha the reward in its place.
at::Tensor cpo_reward(const at::Tensor& logprobs, double alpha);

/// log(odds_c / odds_r), odds = p / (1 - p) of probabilities per token (Hong et al. 2024, arXiv:2403.07691);
/// the loss is -beta log sigmoid of it. @param policy  mean log p of a token.
at::Tensor log_odds_ratio(const PairLogprobs& policy);

/// Answers that are wanted (1) or not (0); r = log policy - log reference.
///
///     kto                 1 - sigmoid(+-beta (r - kl)), + where wanted    Ethayarajh et al. 2024, 2402.01306
///     apo_zero_unpaired   1 - sigmoid(+-beta r)                           arXiv:2408.06266
at::Tensor kto_loss(const std::string& name, const at::Tensor& logratios, const at::Tensor& desirable,
                    double kl, double beta);
/// -log sigmoid(+-(beta r - delta)), arXiv:2404.04656.
at::Tensor bco_loss(const at::Tensor& logratios, const at::Tensor& desirable, double delta, double beta);

/// -log sigmoid(chosen - rejected - margin) + c (chosen + rejected)^2: Bradley-Terry with the margin of
/// Touvron et al. 2023 (arXiv:2307.09288) and the centring of Eisenstein et al. 2023 (arXiv:2312.09244).
at::Tensor reward_loss(const at::Tensor& chosen, const at::Tensor& rejected, const at::Tensor& margin,
                       double center_rewards_coefficient);

}  // namespace phalanx::trainer
