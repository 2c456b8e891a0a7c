#include "trainer/options.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "core/config.h"
#include "core/run_options.h"
#include "generate/rollout_options.h"
#include "model/model_options.h"
#include "parallel/parallel_options.h"
#include "trainer/alignment_options.h"
#include "trainer/method.h"

namespace phalanx::trainer {
namespace {

using core::Config;
using core::SectionBuilder;
using core::Violation;

void declare_online_keys(SectionBuilder<MethodOptions>& s) {
  s.field("num_generations", &MethodOptions::num_generations,
          {.help = "Answers sampled to each prompt.", .min = 1});
  s.field("max_completion_length", &MethodOptions::max_completion_length,
          {.help = "Longest answer.", .unit = "tokens", .min = 1});
  s.field(
      "steps_per_generation", &MethodOptions::steps_per_generation,
      {.help = "Optimizer steps that share out the answers of one generation.", .unit = "steps", .min = 1});
  s.field("num_iterations", &MethodOptions::num_iterations,
          {.help = "Times that the answers of a generation are learned from.", .min = 1});
  s.field("epsilon", &MethodOptions::epsilon,
          {.help = "Probability ratios are clipped to 1 - epsilon.", .min = 0});
  s.field("epsilon_high", &MethodOptions::epsilon_high,
          {.help = "Probability ratios are clipped to 1 + epsilon_high; epsilon where not set.", .min = 0});
  s.field("delta", &MethodOptions::delta,
          {.help = "Upper bound of the unclipped ratio.", .min = 1, .above_min = true});
  s.field("importance_sampling_level", &MethodOptions::importance_sampling_level,
          {.help = "Ratios of tokens, or of whole answers (GSPO).", .one_of = {"token", "sequence"}});
  s.field("scale_rewards", &MethodOptions::scale_rewards,
          {.help = "Advantages are divided by the standard deviation of this.",
           .one_of = {"group", "batch", "none"}});
  s.field("use_bias_correction_kl", &MethodOptions::use_bias_correction_kl,
          {.help = "The distance from the reference is weighted by the probability ratio."});
  s.field("normalize_advantages", &MethodOptions::normalize_advantages,
          {.help = "Advantages of a batch get mean 0 and standard deviation 1."});
  s.field("mask_truncated_completions", &MethodOptions::mask_truncated_completions,
          {.help = "Answers that reached max_completion_length do not count."});
  s.field("temperature", &MethodOptions::temperature,
          {.help = "Logits are divided by it, in sampling and in the loss.", .min = 0, .above_min = true});
  s.field("top_k", &MethodOptions::top_k,
          {.help = "Sample from the k most likely tokens; 0: from all.", .min = 0});
  s.field("top_p", &MethodOptions::top_p,
          {.help = "Sample from the fewest tokens that reach probability p.",
           .min = 0,
           .max = 1,
           .above_min = true});
  s.field("min_p", &MethodOptions::min_p,
          {.help = "Sample from tokens with this share of the highest probability.", .min = 0, .max = 1});
  s.field("repetition_penalty", &MethodOptions::repetition_penalty,
          {.help = "Above 1: tokens seen before become less likely.", .min = 0, .above_min = true});
  s.field("dynamic_sampling", &MethodOptions::dynamic_sampling,
          {.help = "Prompts whose answers all have one reward are replaced by the next prompts of the data "
                   "(DAPO; default false)."});
  s.field("max_resampling", &MethodOptions::max_resampling,
          {.help = "dynamic_sampling: so often at most for one generation; what comes then is kept (default "
                   "10).",
           .unit = "rounds",
           .min = 1});
  s.field("rollouts", &MethodOptions::rollouts,
          {.help = "JSONL of recorded answers with rewards to learn from, in place of sampling.",
           .path = core::PathOf::kRecords});
}

void declare_critic_keys(SectionBuilder<MethodOptions>& s) {
  s.field(
      "critic", &MethodOptions::critic,
      {.help = "ppo: what estimates the value of an answer so far. head: a row on the policy's last hidden "
               "states (default); separate: a model of its own.",
       .one_of = {"head", "separate"}});
  s.field("value_model", &MethodOptions::value_model,
          {.help = "ppo, critic separate: folder that the critic begins with, a reward model or its adapter; "
                   "without it a copy of model.path with a new score."});
  s.field("vf_coef", &MethodOptions::vf_coef,
          {.help = "ppo: weight of the value loss (default 0.1).", .min = 0});
  s.field(
      "cliprange_value", &MethodOptions::cliprange_value,
      {.help = "ppo: values are clipped to this distance from those before the first update (default 0.2).",
       .min = 0});
  s.field("gamma", &MethodOptions::gamma,
          {.help = "ppo: discount of a token's reward (default 1).", .min = 0, .max = 1});
  s.field("lam", &MethodOptions::lam,
          {.help = "ppo: lambda of generalised advantage estimation (default 0.95).", .min = 0, .max = 1});
  s.field("whiten_rewards", &MethodOptions::whiten_rewards,
          {.help = "ppo: rewards of tokens get standard deviation 1 (default false)."});
  s.field("missing_eos_penalty", &MethodOptions::missing_eos_penalty,
          {.help = "ppo: taken off the score of an answer that reached max_completion_length.", .min = 0});
  s.field(
      "kl_estimator", &MethodOptions::kl_estimator,
      {.help = "ppo: a token's distance from the reference. k1: the log ratio (default); k3: never negative, "
               "less variance.",
       .one_of = {"k1", "k3"}});
  s.field("adap_kl_ctrl", &MethodOptions::adap_kl_ctrl,
          {.help = "ppo: beta follows the distance from the reference to `target` (default false)."});
  s.field("target", &MethodOptions::target,
          {.help = "ppo, adap_kl_ctrl: wanted distance of an answer from the reference (default 6).",
           .unit = "nats",
           .min = 0,
           .above_min = true});
  s.field("horizon", &MethodOptions::horizon,
          {.help = "ppo, adap_kl_ctrl: answers over which beta changes by a distance that is off by its own "
                   "size (default 10000).",
           .min = 0,
           .above_min = true});
}

const bool method_registered = core::register_section<MethodOptions>(
    "method", "What the model learns from the data.", [](SectionBuilder<MethodOptions>& s) {
      s.field("name", &MethodOptions::name, {.help = "Training method.", .one_of = method_names()});
      declare_alignment_keys(s);
      declare_online_keys(s);
      declare_critic_keys(s);
    });

const bool optimizer_registered = core::register_section<OptimizerOptions>(
    "optimizer", "How weights follow their gradients.", [](SectionBuilder<OptimizerOptions>& s) {
      s.field("name", &OptimizerOptions::name, {.help = "Update rule.", .one_of = {"adamw", "sgd"}});
      s.field("learning_rate", &OptimizerOptions::learning_rate, {.help = "Peak learning rate.", .min = 0});
      s.field("betas", &OptimizerOptions::betas, {.help = "AdamW: decay of the first and second moment."});
      s.field("eps", &OptimizerOptions::eps,
              {.help = "AdamW: added to the square root of the second moment.", .min = 0});
      s.field("weight_decay", &OptimizerOptions::weight_decay,
              {.help = "Decay of weight matrices; norms and biases have none.", .min = 0});
      s.field("momentum", &OptimizerOptions::momentum, {.help = "SGD: momentum.", .min = 0, .max = 1});
      s.field(
          "offload_to_host", &OptimizerOptions::offload_to_host,
          {.help =
               "On GPUs: moments and the lower halves of the masters live in host memory, where the update "
               "runs."});
    });

const bool schedule_registered = core::register_section<ScheduleOptions>(
    "schedule", "Learning rate over the steps.", [](SectionBuilder<ScheduleOptions>& s) {
      s.field("name", &ScheduleOptions::name,
              {.help = "Curve after the warm-up.", .one_of = {"constant", "linear", "cosine", "wsd"}});
      s.field("warmup_steps", &ScheduleOptions::warmup_steps,
              {.help = "Steps over which the rate rises from 0 to its peak.", .unit = "steps", .min = 0});
      s.field("min_learning_rate", &ScheduleOptions::min_learning_rate,
              {.help = "Rate at the end.", .min = 0});
      s.field("decay_steps", &ScheduleOptions::decay_steps,
              {.help = "wsd: steps of the final linear decay.", .unit = "steps", .min = 0});
    });

const bool train_registered = core::register_section<TrainOptions>(
    "train", "Length, batch and precision of the run.", [](SectionBuilder<TrainOptions>& s) {
      s.field("max_steps", &TrainOptions::max_steps,
              {.help = "Optimizer steps of the run.", .unit = "steps", .min = 1});
      s.field("epochs", &TrainOptions::epochs,
              {.help = "Passes over the data, in place of max_steps.", .min = 0, .above_min = true});
      s.field("global_batch_size", &TrainOptions::global_batch_size,
              {.help = "Sequences per optimizer step, over all ranks.", .unit = "sequences", .min = 1});
      s.field("micro_batch_size", &TrainOptions::micro_batch_size,
              {.help = "Sequences per forward on one rank.", .unit = "sequences", .min = 1});
      s.field("max_grad_norm", &TrainOptions::max_grad_norm,
              {.help = "Gradients are scaled down to this global norm; 0 turns clipping off.", .min = 0});
      s.field("precision", &TrainOptions::precision,
              {.help = "Compute dtype; master weights are fp32 (fp64 with fp64). auto: bf16 where the "
                       "machine has it, else fp32.",
               .one_of = {"auto", "bf16", "fp32", "fp64"}});
      s.field(
          "recompute", &TrainOptions::recompute,
          {.help =
               "What the backward computes again to save memory. none: nothing; selective: norms and SwiGLU "
               "products; full: whole layers.",
           .one_of = {"none", "selective", "full"}});
    });

const bool eval_registered = core::register_section<EvalOptions>(
    "eval", "Loss on data.eval while training.", [](SectionBuilder<EvalOptions>& s) {
      s.field("every_steps", &EvalOptions::every_steps,
              {.help = "Interval; also before the first and after the last step. 0: never.",
               .unit = "steps",
               .min = 0});
      s.field("max_sequences", &EvalOptions::max_sequences,
              {.help = "Evaluate on the first so many sequences only.", .unit = "sequences", .min = 1});
    });

const bool log_registered =
    core::register_section<LogOptions>("log", "What the run writes down.", [](SectionBuilder<LogOptions>& s) {
      s.field(
          "every_steps", &LogOptions::every_steps,
          {.help = "Interval of training rows in metrics.jsonl and TensorBoard.", .unit = "steps", .min = 1});
      s.field("record_ids", &LogOptions::record_ids,
              {.help = "Adds record_ids to each training row: the line numbers (from 0, over all sources of "
                       "data.train) of "
                       "what the step was trained on, in the order of the samples."});
    });

void check_length(const Config& config, std::vector<Violation>& violations) {
  const auto& train = config.get<TrainOptions>();
  if (train.max_steps && train.epochs) {
    violations.push_back({"train.epochs", "train.epochs and train.max_steps are both set; keep one of them"});
  }
}

void check_batch(const Config& config, std::vector<Violation>& violations) {
  const auto& train = config.get<TrainOptions>();
  const auto& parallel = config.get<parallel::ParallelOptions>();
  if (train.global_batch_size % (parallel.dp * train.micro_batch_size) != 0) {
    violations.push_back({"train.global_batch_size",
                          fmt::format("train.global_batch_size is {} but must be a multiple of parallel.dp x "
                                      "train.micro_batch_size = {} x {}; try {}",
                                      train.global_batch_size, parallel.dp, train.micro_batch_size,
                                      (train.global_batch_size / (parallel.dp * train.micro_batch_size) + 1) *
                                          parallel.dp * train.micro_batch_size)});
  }
}

/// A list without elements says nothing; a resolved config has them of all methods.
bool is_empty_list(const core::Value& value) {
  const auto* list = std::get_if<std::vector<std::string>>(&value);
  return list && list->empty();
}

void check_method_keys(const Config& config, std::vector<Violation>& violations) {
  const auto& options = config.get<MethodOptions>();
  const MethodKind& method = find_method(options.name);
  const auto section = std::find_if(core::sections().begin(), core::sections().end(),
                                    [](const core::Section& s) { return s.name == "method"; });
  for (const core::Field& field : section->fields) {
    const bool is_known = field.name == "name" ||
                          std::find(method.keys.begin(), method.keys.end(), field.name) != method.keys.end();
    if (is_known || !config.is_set("method." + field.name) || is_empty_list(field.get(&options))) continue;
    violations.push_back(
        {"method." + field.name,
         fmt::format(
             "method.{} means nothing to method.name: {}, which knows {}", field.name, method.name,
             method.keys.empty() ? "no other key" : fmt::format("{}", fmt::join(method.keys, ", ")))});
  }
}

void check_betas(const Config& config, std::vector<Violation>& violations) {
  const auto& betas = config.get<OptimizerOptions>().betas;
  const auto bad = [](double beta) { return beta < 0.0 || beta >= 1.0; };
  if (betas.size() != 2 || bad(betas[0]) || bad(betas[1])) {
    violations.push_back(
        {"optimizer.betas", "optimizer.betas must be two numbers in [0, 1), such as [0.9, 0.999]"});
  }
}

void check_adapter_has_base(const Config& config, std::vector<Violation>& violations) {
  if (config.has("lora") && config.get<model::ModelOptions>().family) {
    violations.push_back({"lora",
                          "lora trains an adapter for weights that exist, but model.family starts a new "
                          "model; set model.path, or leave lora out"});
  }
}

void check_batch_invariant(const Config& config, std::vector<Violation>& violations) {
  const int64_t cp = config.get<parallel::ParallelOptions>().cp;
  if (!config.get<generate::RolloutOptions>().batch_invariant || cp == 1) return;
  violations.push_back(
      {"rollout.batch_invariant",
       fmt::format(
           "rollout.batch_invariant is true but parallel.cp is {}, whose ranks add up attention block by "
           "block in another order; set parallel.cp: 1, or rollout.batch_invariant: false",
           cp)});
}

const bool constraints_added =
    core::add_constraint("batch invariance", check_batch_invariant) &&
    core::add_constraint("one length", check_length) && core::add_constraint("batch divides", check_batch) &&
    core::add_constraint("betas", check_betas) && core::add_constraint("method keys", check_method_keys) &&
    core::add_constraint("adapter has a base", check_adapter_has_base);

}  // namespace
}  // namespace phalanx::trainer
