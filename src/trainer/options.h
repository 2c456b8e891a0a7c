#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

/// Config sections owned by the trainer. Defaults stand here, sentences and ranges in options.cpp.
namespace phalanx::trainer {

struct MethodOptions {
  std::string name = "sft";
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
