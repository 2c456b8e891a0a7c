#pragma once

namespace phalanx::trainer {

/// Names (but for is_adaptive: adap_kl_ctrl) and defaults of TRL's first PPOConfig.
struct KlControlOptions {
  bool is_adaptive = false;
  double target = 6;       ///< nats of a whole answer
  double horizon = 10000;  ///< answers
};

/// The coefficient of the distance from the reference (Ziegler et al. 2019, arXiv:1909.08593, section 2.2):
/// fixed, or after `num_answers` answers at a mean distance `kl`
///
///     beta <- beta (1 + clip(kl / target - 1, -0.2, 0.2) num_answers / horizon)
class KlControl {
 public:
  KlControl(double beta, const KlControlOptions& options) : beta_(beta), options_(options) {}
  double beta() const { return beta_; }
  void set_beta(double beta) { beta_ = beta; }
  void update(double kl, double num_answers);

 private:
  double beta_;
  KlControlOptions options_;
};

}  // namespace phalanx::trainer
