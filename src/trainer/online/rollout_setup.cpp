#include "trainer/online/rollout_setup.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/error.h"
#include "core/files.h"
#include "core/hash.h"
#include "core/run_options.h"
#include "trainer/data_setup.h"
#include "trainer/options.h"

namespace phalanx::trainer {
namespace {

constexpr uint64_t kMaxRecordedBytes = uint64_t{4} << 30;

/// The resolved config without the sections that do not change what a run computes.
std::string settings_text(const core::Config& config) {
  return config.print(/*with_origins=*/false, {"parallel", "checkpoint", "log", "eval", "run"}) +
         fmt::format("run.seed: {}", config.get<core::RunOptions>().seed);
}

void check_recorded(const Generation& groups, const PolicyOptions& options, int64_t vocab_size) {
  for (size_t g = 0; g < groups.size(); ++g) {
    if (static_cast<int64_t>(groups[g].rollouts.size()) != options.num_generations) {
      core::fail(core::ExitCode::kBadInput, "{}: line {}: has {} answers, but method.num_generations is {}",
                 *options.rollouts, g + 1, groups[g].rollouts.size(), options.num_generations);
    }
    const auto check_ids = [&](const std::vector<int32_t>& ids) {
      for (const int32_t id : ids) {
        if (id < 0 || id >= vocab_size)
          core::fail(core::ExitCode::kBadInput, "{}: line {}: id {} is outside the vocabulary of {}",
                     *options.rollouts, g + 1, id, vocab_size);
      }
    };
    check_ids(groups[g].prompt_ids);
    for (const Rollout& rollout : groups[g].rollouts) check_ids(rollout.ids);
  }
}

}  // namespace

RolloutSetup::RolloutSetup(const core::Config& config, const ModelSetup& setup, const PolicyOptions& options,
                           comm::Communicator& group)
    : tokenizer_(setup.tokenizer()),
      options_(options),
      global_batch_size_(config.get<TrainOptions>().global_batch_size),
      seed_(static_cast<uint64_t>(config.get<core::RunOptions>().seed)),
      rollout_(config.get<generate::RolloutOptions>()),
      reward_(config.get<reward::RewardOptions>()) {
  const auto& data = config.get<data::DataOptions>();
  const int64_t room = setup.config().max_position_embeddings - options.loss.max_completion_length;
  const auto read = [&](const std::vector<data::SourceOptions>& sources) {
    return std::make_unique<const PromptSet>(config, sources, tokenizer_, setup.chat_template(), room, group);
  };
  if (!data.eval.empty()) eval_ = read(data.eval);
  core::Hasher answers;  // what they depend on, but for the mesh
  answers.add_field(settings_text(config));
  const auto open_ledger = [&] {
    ledger_.emplace(config.get<core::RunOptions>().output_dir + "/rollouts", answers.digest_128().hex());
  };
  if (options.rollouts) {
    open_recorded(setup.config().vocab_size, answers);
    open_ledger();
    return;
  }
  if (data.train.empty())
    core::fail(core::ExitCode::kBadConfig,
               "data.train is empty; name at least one file of prompts: data: {{train: [{{path: FILE}}]}}");
  train_ = read(data.train);
  answers.add_field(train_->digest().hex());
  open_ledger();
  sampler_.emplace(make_sampler(config, train_->ranges()));
  rewards_ = std::make_unique<const RewardTerms>(config, tokenizer_);
}

void RolloutSetup::open_recorded(int64_t vocab_size, core::Hasher& answers) {
  const std::string text = core::read_file(*options_.rollouts, kMaxRecordedBytes);
  answers.add_field(text);
  recorded_ = generation_from_jsonl(text, *options_.rollouts);
  check_recorded(recorded_, options_, vocab_size);
  if (static_cast<int64_t>(recorded_.size()) < groups_per_generation()) {
    core::fail(core::ExitCode::kBadInput, "{}: has {} prompts, but a step learns from {}", *options_.rollouts,
               recorded_.size(), groups_per_generation());
  }
}

int64_t RolloutSetup::groups_per_generation() const {
  return global_batch_size_ * options_.steps_per_generation / options_.num_generations;
}

int64_t RolloutSetup::num_prompts() const {
  return is_recorded() ? static_cast<int64_t>(recorded_.size()) : train_->size();
}

std::string RolloutSetup::report() const {
  if (is_recorded()) return fmt::format("{}: {} recorded prompts\n", *options_.rollouts, recorded_.size());
  std::string text = fmt::format("data.train: {} prompts", train_->size());
  if (train_->num_bad() > 0) text += fmt::format(", {} bad records in quarantine.jsonl", train_->num_bad());
  if (eval_) text += fmt::format("\ndata.eval: {} prompts", eval_->size());
  return text + "\n" + rewards_->report();
}

Prompt RolloutSetup::prompt(int64_t sample) const {
  return train_->at(sampler_->sequence_index(sample));
}

Generation RolloutSetup::recorded(int64_t number) const {
  Generation generation;
  for (int64_t g = 0; g < groups_per_generation(); ++g) {
    const int64_t place = (number * groups_per_generation() + g) % static_cast<int64_t>(recorded_.size());
    generation.push_back(recorded_[static_cast<size_t>(place)]);
  }
  return generation;
}

}  // namespace phalanx::trainer
