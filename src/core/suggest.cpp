#include "core/suggest.h"

#include <algorithm>
#include <unordered_map>

namespace phalanx::core {

namespace {

/// Optimal string alignment distance.
size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::vector<size_t>> cost(a.size() + 1, std::vector<size_t>(b.size() + 1));
  for (size_t i = 0; i <= a.size(); ++i) {
    for (size_t j = 0; j <= b.size(); ++j) {
      if (i == 0 || j == 0) {
        cost[i][j] = i + j;
        continue;
      }
      const size_t change = cost[i - 1][j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      cost[i][j] = std::min({cost[i - 1][j] + 1, cost[i][j - 1] + 1, change});
      const bool is_swap = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
      if (is_swap) cost[i][j] = std::min(cost[i][j], cost[i - 2][j - 2] + 1);
    }
  }
  return cost[a.size()][b.size()];
}

const std::unordered_map<std::string_view, std::string_view>& peer_keys() {
  static const std::unordered_map<std::string_view, std::string_view> keys = {
      // model
      {"model_name_or_path", "model.path"},
      {"model_name", "model.path"},
      {"base_model", "model.path"},
      {"torch_dtype", "model.dtype"},
      {"infer_dtype", "model.dtype"},
      {"chat_template_path", "model.chat_template"},
      {"template", "model.chat_template"},
      {"tokenizer_name", "model.tokenizer"},
      {"tokenizer_name_or_path", "model.tokenizer"},
      // data
      {"dataset", "data.train"},
      {"datasets", "data.train"},
      {"dataset_name", "data.train"},
      {"dataset_path", "data.train"},
      {"pretraining_dataset", "data.train"},
      {"train_file", "data.train"},
      {"eval_dataset", "data.eval"},
      {"test_datasets", "data.eval"},
      {"validation_file", "data.eval"},
      {"max_length", "data.sequence_length"},
      {"max_seq_length", "data.sequence_length"},
      {"max_seq_len", "data.sequence_length"},
      {"sequence_len", "data.sequence_length"},
      {"seqlen", "data.sequence_length"},
      {"seq_len", "data.sequence_length"},
      {"cutoff_len", "data.sequence_length"},
      {"block_size", "data.sequence_length"},
      {"sample_packing", "data.packing"},
      {"neat_packing", "data.packing"},
      {"assistant_only_loss", "data.loss_on: assistant"},
      {"completion_only_loss", "data.loss_on: completion"},
      {"roles_to_train", "data.loss_on"},
      {"train_on_inputs", "data.loss_on: all"},
      {"train_on_prompt", "data.loss_on: all"},
      {"mask_history", "data.loss_on: last_turn"},
      // lora
      {"use_peft", "the section lora"},
      {"use_lora", "the section lora"},
      {"adapter", "the section lora"},
      {"peft", "the section lora"},
      {"finetuning_type", "the section lora"},
      {"lora_r", "lora.r"},
      {"lora_rank", "lora.r"},
      {"rank", "lora.r"},
      {"lora_alpha", "lora.alpha"},
      {"lora_dropout", "lora.dropout"},
      {"lora_target_modules", "lora.target_modules"},
      {"lora_target", "lora.target_modules"},
      {"lora_target_linear", "lora.target_modules: all-linear"},
      {"lora_model_dir", "lora.path"},
      {"adapter_name_or_path", "lora.path"},
      // method
      {"rl", "method.name"},
      {"stage", "method.name"},
      {"rl_beta", "method.beta"},
      {"pref_beta", "method.beta"},
      {"kl_coef", "method.beta"},
      {"init_kl_coef", "method.beta"},
      {"cliprange", "method.epsilon"},
      {"num_ppo_epochs", "method.num_iterations"},
      {"num_mini_batches", "method.steps_per_generation"},
      {"value_model_path", "method.value_model"},
      {"response_length", "method.max_completion_length"},
      {"pref_loss", "method.loss_type"},
      {"dpo_label_smoothing", "method.label_smoothing"},
      {"kto_desirable_weight", "method.desirable_weight"},
      {"kto_undesirable_weight", "method.undesirable_weight"},
      {"kto_chosen_weight", "method.desirable_weight"},
      {"kto_rejected_weight", "method.undesirable_weight"},
      {"teacher_model_name_or_path", "method.teacher"},
      // optimizer and schedule
      {"optim", "optimizer.name"},
      {"lr", "optimizer.learning_rate"},
      {"adam_beta1", "optimizer.betas"},
      {"adam_beta2", "optimizer.betas"},
      {"beta1", "optimizer.betas"},
      {"beta2", "optimizer.betas"},
      {"adam_epsilon", "optimizer.eps"},
      {"lr_scheduler", "the section schedule"},
      {"lr_scheduler_type", "schedule.name"},
      {"warmup_ratio", "schedule.warmup_steps"},
      {"num_warmup_steps", "schedule.warmup_steps"},
      {"cosine_min_lr_ratio", "schedule.min_learning_rate"},
      {"min_lr", "schedule.min_learning_rate"},
      // train
      {"per_device_train_batch_size", "train.micro_batch_size"},
      {"local_batch_size", "train.micro_batch_size"},
      {"batch_size", "train.global_batch_size (or train.micro_batch_size, per rank and forward)"},
      {"gradient_accumulation_steps", "train.global_batch_size (micro_batch_size x dp x accumulation steps)"},
      {"num_train_epochs", "train.epochs"},
      {"num_epochs", "train.epochs"},
      {"steps", "train.max_steps"},
      {"training_steps", "train.max_steps"},
      {"max_norm", "train.max_grad_norm"},
      {"gradient_clipping", "train.max_grad_norm"},
      {"bf16", "train.precision: bf16"},
      {"pure_bf16", "train.precision: bf16"},
      {"fp16", "train.precision"},
      {"tf32", "train.precision"},
      {"mixed_precision", "train.precision"},
      {"gradient_checkpointing", "train.recompute"},
      {"activation_checkpoint", "train.recompute"},
      // parallel
      {"dp_shard_size", "parallel.dp"},
      {"dp_replicate_size", "parallel.dp"},
      {"data_parallel_replicate_degree", "parallel.dp"},
      {"data_parallel_shard_degree", "parallel.dp"},
      {"data_parallel_size", "parallel.dp"},
      {"tensor_parallel_size", "parallel.tp"},
      {"tensor_parallel_degree", "parallel.tp"},
      {"pipeline_parallel_size", "parallel.pp"},
      {"pipeline_parallel_degree", "parallel.pp"},
      {"context_parallel_size", "parallel.cp"},
      {"context_parallel_degree", "parallel.cp"},
      {"expert_parallel_size", "parallel.ep"},
      {"expert_parallel_degree", "parallel.ep"},
      {"pipeline_parallel_schedule", "parallel.pipeline_schedule"},
      {"enable_sequence_parallel", "parallel.sequence_parallel"},
      {"deepspeed", "parallel.zero_stage"},
      {"fsdp", "parallel.zero_stage"},
      {"parallelism", "the section parallel"},
      // run, log, checkpoint, eval
      {"run_name", "run.name"},
      {"logging_dir", "run.output_dir"},
      {"data_seed", "run.seed"},
      {"full_determinism", "run.determinism: reproducible"},
      {"num_threads", "run.threads"},
      {"logging", "the section log"},
      {"logging_steps", "log.every_steps"},
      {"log_freq", "log.every_steps"},
      {"save_steps", "checkpoint.every_steps"},
      {"saves_per_epoch", "checkpoint.every_steps"},
      {"save_total_limit", "checkpoint.keep_last"},
      {"keep_latest_k", "checkpoint.keep_last"},
      {"resume_from_checkpoint", "checkpoint.resume"},
      {"auto_resume_from_checkpoints", "checkpoint.resume"},
      {"checkpoints", "the section checkpoint"},
      {"eval_steps", "eval.every_steps"},
      {"evals_per_epoch", "eval.every_steps"},
      {"eval_strategy", "eval.every_steps"},
      {"save_strategy", "checkpoint.every_steps"},
  };
  return keys;
}

}  // namespace

std::optional<std::string> nearest(std::string_view word, const std::vector<std::string>& candidates) {
  if (word.size() > 64) return std::nullopt;
  const size_t allowed = std::max<size_t>(2, word.size() / 3);
  std::optional<std::string> best;
  size_t best_distance = allowed + 1;
  for (const std::string& candidate : candidates) {
    const size_t distance = edit_distance(word, candidate);
    if (distance < best_distance && distance < std::max(word.size(), candidate.size())) {
      best = candidate;
      best_distance = distance;
    }
  }
  if (best || word.size() < 3) return best;
  for (const std::string& candidate : candidates) {
    if (candidate.find(word) != std::string::npos) return candidate;  // "steps" for "warmup_steps"
  }
  return std::nullopt;
}

std::optional<std::string> our_name_of(std::string_view peer_key) {
  const auto place = peer_keys().find(peer_key);
  if (place == peer_keys().end()) return std::nullopt;
  return std::string(place->second);
}

}  // namespace phalanx::core
