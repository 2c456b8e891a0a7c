#include "trainer/online/rollout_source.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/files.h"
#include "core/hash.h"
#include "core/run_options.h"
#include "trainer/data_setup.h"
#include "trainer/options.h"
#include "trainer/rollouts.h"

namespace phalanx::trainer {
namespace {

constexpr std::array<std::string_view, 5> kOtherSections = {
    "parallel:", "checkpoint:", "log:", "eval:", "run:"};
constexpr uint64_t kMaxRecordedBytes = uint64_t{4} << 30;

/// The resolved config without the sections that do not change what a run computes.
std::string settings_text(const core::Config& config) {
  std::string kept;
  bool is_kept = true;
  const std::string text = config.print(/*with_origins=*/false);
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    const std::string line = text.substr(begin, end - begin);
    if (!line.empty() && line[0] != ' ') {
      is_kept = std::none_of(kOtherSections.begin(), kOtherSections.end(),
                             [&](std::string_view section) { return line.starts_with(section); });
    }
    if (is_kept) kept += line + "\n";
    begin = end + 1;
  }
  return kept + fmt::format("run.seed: {}", config.get<core::RunOptions>().seed);
}

int64_t max_prompt_tokens(const ModelSetup& setup, const PolicyOptions& options) {
  return setup.config().max_position_embeddings - options.loss.max_completion_length;
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

RolloutSource::RolloutSource(const core::Config& config, const ModelSetup& setup,
                             const PolicyOptions& options, bool writes_quarantine)
    : tokenizer_(setup.tokenizer()),
      options_(options),
      global_batch_size_(config.get<TrainOptions>().global_batch_size),
      seed_(static_cast<uint64_t>(config.get<core::RunOptions>().seed)),
      rollout_(config.get<generate::RolloutOptions>()),
      ledger_(config.get<core::RunOptions>().output_dir + "/rollouts") {
  const auto& data = config.get<data::DataOptions>();
  const int64_t room = max_prompt_tokens(setup, options);
  const auto read = [&](const std::vector<data::SourceOptions>& sources) {
    return read_prompts(config, sources, tokenizer_, setup.chat_template(), room, writes_quarantine);
  };
  if (!data.eval.empty()) eval_ = read(data.eval);
  key_ = nlohmann::json{{"rollouts_of", core::xxh3_128(settings_text(config)).hex()}}.dump();
  if (options.rollouts) {
    recorded_ =
        generation_from_jsonl(core::read_file(*options.rollouts, kMaxRecordedBytes), *options.rollouts);
    check_recorded(recorded_, options, setup.config().vocab_size);
    if (static_cast<int64_t>(recorded_.size()) < groups_per_generation()) {
      core::fail(core::ExitCode::kBadInput, "{}: has {} prompts, but a step learns from {}",
                 *options.rollouts, recorded_.size(), groups_per_generation());
    }
    return;
  }
  if (data.train.empty())
    core::fail(core::ExitCode::kBadConfig,
               "data.train is empty; name at least one file of prompts: data: {{train: [{{path: FILE}}]}}");
  train_ = read(data.train);
  sampler_.emplace(make_sampler(config, train_.ranges));
  const auto& terms = config.get<reward::RewardOptions>().terms;
  if (terms.empty())
    core::fail(
        core::ExitCode::kBadConfig,
        "reward.terms is empty; say what an answer is worth: reward: {{terms: [{{name: numeric_match}}]}}");
  rewards_ = std::make_unique<reward::WeightedRewards>(terms);
}

int64_t RolloutSource::groups_per_generation() const {
  return global_batch_size_ * options_.steps_per_generation / options_.num_generations;
}

int64_t RolloutSource::num_prompts() const {
  return static_cast<int64_t>(options_.rollouts ? recorded_.size() : train_.prompts.size());
}

std::string RolloutSource::report() const {
  if (options_.rollouts)
    return fmt::format("{}: {} recorded prompts\n", *options_.rollouts, recorded_.size());
  std::string text = fmt::format("data.train: {} prompts", train_.prompts.size());
  if (train_.num_bad > 0) text += fmt::format(", {} bad records in quarantine.jsonl", train_.num_bad);
  if (!eval_.prompts.empty()) text += fmt::format("\ndata.eval: {} prompts", eval_.prompts.size());
  return text + "\n";
}

Generation RolloutSource::recorded(int64_t number) const {
  Generation generation;
  for (int64_t g = 0; g < groups_per_generation(); ++g) {
    const int64_t place = (number * groups_per_generation() + g) % static_cast<int64_t>(recorded_.size());
    generation.push_back(recorded_[static_cast<size_t>(place)]);
  }
  return generation;
}

Generation RolloutSource::sample(const std::vector<const Prompt*>& prompts, int64_t group_size,
                                 int64_t number, const generate::SamplingOptions& sampling,
                                 parallel::DistributedModel& model) const {
  std::vector<std::vector<int32_t>> ids;
  for (const Prompt* prompt : prompts) ids.push_back(prompt->ids);
  generate::GenerateOptions options;
  options.max_new_tokens = options_.loss.max_completion_length;
  options.sampling = sampling;
  options.sampling.seed = seed_;
  options.step = static_cast<uint64_t>(number);
  options.stop_ids = tokenizer_.stop_ids();
  options.rollout = rollout_;
  const std::vector<generate::Completion> completions = rollouts(model, ids, group_size, options);
  Generation generation;
  size_t next = 0;
  for (const Prompt* prompt : prompts) {
    RolloutGroup group{prompt->record_id, prompt->text, prompt->ids, {}};
    for (int64_t i = 0; i < group_size; ++i) {
      const generate::Completion& completion = completions[next++];
      Rollout rollout;
      rollout.ids = completion.ids;
      rollout.sampling_logprobs = completion.logprobs;
      rollout.text = tokenizer_.decode(completion.ids, /*skip_special_tokens=*/true);
      rollout.finish_reason = completion.finish_reason;
      group.rollouts.push_back(std::move(rollout));
    }
    generation.push_back(std::move(group));
  }
  return generation;
}

void RolloutSource::judge(Generation& generation, const std::vector<const Prompt*>& prompts) const {
  std::vector<reward::Sample> samples;
  for (size_t g = 0; g < generation.size(); ++g) {
    for (const Rollout& rollout : generation[g].rollouts) {
      samples.push_back({&prompts[g]->record, generation[g].prompt, rollout.text,
                         static_cast<int64_t>(rollout.ids.size()), rollout.finish_reason == "length",
                         options_.loss.max_completion_length});
    }
  }
  const reward::Scores scores = rewards_->score(samples);
  size_t next = 0;
  for (RolloutGroup& group : generation) {
    for (Rollout& rollout : group.rollouts) {
      rollout.reward = scores.totals[next];
      for (size_t t = 0; t < scores.names.size(); ++t) rollout.terms[scores.names[t]] = scores.terms[t][next];
      ++next;
    }
  }
}

Generation RolloutSource::generation(int64_t number, parallel::DistributedModel& model,
                                     const std::function<void(Generation&)>& complete) const {
  comm::Communicator& world = model.mesh().world();
  std::string text;
  if (world.rank() == 0) {
    if (const auto found = ledger_.find(number, key_)) text = to_jsonl(*found);
  }
  text = world.broadcast_string(text);
  if (!text.empty()) return generation_from_jsonl(text, "rollouts");
  Generation generation;
  if (options_.rollouts) {
    generation = recorded(number);
  } else {
    std::vector<const Prompt*> prompts;
    for (int64_t g = 0; g < groups_per_generation(); ++g) {
      const int64_t place = sampler_->sequence_index(number * groups_per_generation() + g);
      prompts.push_back(&train_.prompts[static_cast<size_t>(place)]);
    }
    generation = sample(prompts, options_.num_generations, number, options_.sampling, model);
    if (world.rank() == 0) judge(generation, prompts);
    generation = generation_from_jsonl(world.broadcast_string(to_jsonl(generation)), "rollouts");
  }
  complete(generation);
  if (world.rank() == 0) ledger_.write(number, key_, generation);
  world.barrier();
  return generation;
}

std::optional<Generation> RolloutSource::evaluate(parallel::DistributedModel& model,
                                                  std::optional<int64_t> max_prompts) const {
  if (eval_.prompts.empty() || !rewards_) return std::nullopt;
  std::vector<const Prompt*> prompts;
  for (const Prompt& prompt : eval_.prompts) {
    if (static_cast<int64_t>(prompts.size()) <
        max_prompts.value_or(static_cast<int64_t>(eval_.prompts.size())))
      prompts.push_back(&prompt);
  }
  Generation generation = sample(prompts, 1, 0, {.temperature = 0.0}, model);
  comm::Communicator& world = model.mesh().world();
  if (world.rank() == 0) judge(generation, prompts);
  return generation_from_jsonl(world.broadcast_string(to_jsonl(generation)), "rollouts");
}

}  // namespace phalanx::trainer
