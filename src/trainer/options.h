#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

/// Config sections owned by the trainer. Defaults stand here, sentences and ranges in options.cpp.
namespace phalanx::trainer {

/// Keys of all methods; each method knows some of them (MethodKind::keys) and has its own defaults.
struct MethodOptions {
  std::string name = "sft";
  std::optional<double> beta;
  std::optional<std::vector<std::string>> loss_type;

  // Answers that were judged (alignment_options.cpp).
  std::optional<std::vector<double>> loss_weights;
  std::optional<std::string> f_divergence_type, ref_model;
  std::optional<double> label_smoothing, f_alpha_divergence_coef, ld_alpha, discopop_tau;
  std::optional<bool> use_weighting, precompute_ref_log_probs;
  std::optional<double> cpo_alpha, simpo_gamma, alpha;
  std::optional<double> desirable_weight, undesirable_weight;
  std::optional<double> center_rewards_coefficient;
  std::optional<std::string> step_separator;
  std::optional<bool> train_on_last_step_only;

  // Answers that the model samples (trainer/online/).
  std::optional<int64_t> num_generations, max_completion_length, steps_per_generation, num_iterations;
  std::optional<double> epsilon, epsilon_high, delta;
  std::optional<std::string> importance_sampling_level, scale_rewards;
  std::optional<bool> use_bias_correction_kl, normalize_advantages, mask_truncated_completions,
      dynamic_sampling;
  std::optional<double> temperature, top_p, min_p, repetition_penalty;
  std::optional<int64_t> top_k, max_resampling;
  std::optional<std::string> rollouts;

  // With a critic.
  std::optional<std::string> critic, value_model, kl_estimator;
  std::optional<double> vf_coef, cliprange_value, gamma, lam, missing_eos_penalty, target, horizon;
  std::optional<bool> whiten_rewards, adap_kl_ctrl;
};

struct OptimizerOptions {
  std::string name = "adamw";
  double learning_rate = 2e-5;
  std::vector<double> betas = {0.9, 0.999};
  double eps = 1e-8;
  double weight_decay = 0.0;
  double momentum = 0.0;
  bool offload_to_host = false;
};

struct ScheduleOptions {
  std::string name = "linear";
  int64_t warmup_steps = 0;
  double min_learning_rate = 0.0;
  int64_t decay_steps = 0;  // wsd only
};

struct TrainOptions {
  std::optional<int64_t> max_steps;
  std::optional<double> epochs;
  int64_t global_batch_size = 8;
  int64_t micro_batch_size = 1;
  double max_grad_norm = 1.0;
  std::string precision = "auto";
  std::string recompute = "selective";  // none | selective | full
};

struct EvalOptions {
  int64_t every_steps = 0;
  std::optional<int64_t> max_sequences;
};

struct LogOptions {
  int64_t every_steps = 1;
  bool record_ids = false;
};

}  // namespace phalanx::trainer
