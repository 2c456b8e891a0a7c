#include "trainer/online/rollout_source.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "core/error.h"
#include "core/files.h"
#include "core/log.h"
#include "core/run_options.h"
#include "data/jinja_library.h"
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

void add_to(core::Hasher& hasher, const Prompt& prompt) {
  for (const int32_t id : prompt.ids) hasher.add_field(int64_t{id});
  const data::jinja::Value& truth = prompt.record.ground_truth;
  hasher.add_field(truth.is_undefined() ? "" : data::jinja::to_json(truth));
  hasher.add_field(data::jinja::to_json(data::jinja::Value(prompt.record.fields)));
}

}  // namespace

RolloutSource::RolloutSource(const core::Config& config, const ModelSetup& setup,
                             const PolicyOptions& options, bool writes_quarantine)
    : tokenizer_(setup.tokenizer()),
      options_(options),
      global_batch_size_(config.get<TrainOptions>().global_batch_size),
      seed_(static_cast<uint64_t>(config.get<core::RunOptions>().seed)),
      rollout_(config.get<generate::RolloutOptions>()) {
  const auto& data = config.get<data::DataOptions>();
  const int64_t room = max_prompt_tokens(setup, options);
  const auto read = [&](const std::vector<data::SourceOptions>& sources) {
    return read_prompts(config, sources, tokenizer_, setup.chat_template(), room, writes_quarantine);
  };
  if (!data.eval.empty()) eval_ = read(data.eval);
  core::Hasher answers;  // what they depend on, but for the mesh
  answers.add_field(settings_text(config));
  const auto open_ledger = [&] {
    ledger_.emplace(config.get<core::RunOptions>().output_dir + "/rollouts", answers.digest_128().hex());
  };
  if (options.rollouts) {
    read_recorded(setup.config().vocab_size, answers);
    open_ledger();
    return;
  }
  if (data.train.empty())
    core::fail(core::ExitCode::kBadConfig,
               "data.train is empty; name at least one file of prompts: data: {{train: [{{path: FILE}}]}}");
  train_ = read(data.train);
  for (const Prompt& prompt : train_.prompts) add_to(answers, prompt);
  open_ledger();
  sampler_.emplace(make_sampler(config, train_.ranges));
  const auto& terms = config.get<reward::RewardOptions>().terms;
  if (terms.empty())
    core::fail(
        core::ExitCode::kBadConfig,
        "reward.terms is empty; say what an answer is worth: reward: {{terms: [{{name: numeric_match}}]}}");
  rewards_ = std::make_unique<reward::WeightedRewards>(terms);
}

void RolloutSource::read_recorded(int64_t vocab_size, core::Hasher& answers) {
  const std::string& file = *options_.rollouts;
  const std::string text = core::read_file(file, kMaxRecordedBytes);
  answers.add_field(text);
  recorded_ = generation_from_jsonl(text, file);
  check_recorded(recorded_, options_, vocab_size);
  if (static_cast<int64_t>(recorded_.size()) < groups_per_generation()) {
    core::fail(core::ExitCode::kBadInput, "{}: has {} prompts, but a step learns from {}", file,
               recorded_.size(), groups_per_generation());
  }
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
                                 parallel::DistributedModel& model, const core::StopRequest& stop) const {
  std::vector<std::vector<int32_t>> ids;
  for (const Prompt* prompt : prompts) ids.push_back(prompt->ids);
  generate::GenerateOptions options;
  options.max_new_tokens = options_.loss.max_completion_length;
  options.sampling = sampling;
  options.sampling.seed = seed_;
  options.step = static_cast<uint64_t>(number);
  options.stop_ids = tokenizer_.stop_ids();
  options.rollout = rollout_;
  options.stop = stop;
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

void RolloutSource::judge(Generation& generation, const std::vector<const Prompt*>& prompts,
                          const core::StopRequest& stop) const {
  std::vector<reward::Sample> samples;
  for (size_t g = 0; g < generation.size(); ++g) {
    for (const Rollout& rollout : generation[g].rollouts) {
      samples.push_back({&prompts[g]->record, generation[g].prompt, rollout.text,
                         static_cast<int64_t>(rollout.ids.size()), rollout.finish_reason == "length",
                         options_.loss.max_completion_length});
    }
  }
  const reward::Scores scores = rewards_->score(samples, stop);
  size_t next = 0;
  for (RolloutGroup& group : generation) {
    for (Rollout& rollout : group.rollouts) {
      rollout.reward = scores.totals[next];
      for (size_t t = 0; t < scores.names.size(); ++t) rollout.terms[scores.names[t]] = scores.terms[t][next];
      ++next;
    }
  }
}

/// The same generation on every rank, with what rank 0 thinks of it.
Generation RolloutSource::judged(Generation generation, const std::vector<const Prompt*>& prompts,
                                 comm::Communicator& world, const core::StopRequest& stop) const {
  std::string text;
  if (world.rank() == 0) {
    try {
      judge(generation, prompts, stop);
      text = to_jsonl(generation);
    } catch (const core::Stopped&) {  // the others hear of it by an empty text
    }
  }
  text = world.broadcast_string(text);
  if (text.empty()) throw core::Stopped();
  return generation_from_jsonl(text, "rollouts");
}

Generation RolloutSource::generation(int64_t number, bool is_begun, parallel::DistributedModel& model,
                                     const core::StopRequest& stop,
                                     const std::function<void(Generation&)>& complete) const {
  comm::Communicator& world = model.mesh().world();
  std::string text;
  if (world.rank() == 0) {
    if (const auto found = ledger_->find(number)) text = to_jsonl(*found);
  }
  text = world.broadcast_string(text);
  if (!text.empty()) return generation_from_jsonl(text, "rollouts");
  if (is_begun) {
    core::log_warning(
        "{} does not hold the answers that earlier steps have learned from; those that follow learn from new "
        "ones",
        ledger_->file(number).string());
  }
  Generation generation;
  if (options_.rollouts) {
    generation = recorded(number);
  } else {
    std::vector<const Prompt*> prompts;
    for (int64_t g = 0; g < groups_per_generation(); ++g) {
      const int64_t place = sampler_->sequence_index(number * groups_per_generation() + g);
      prompts.push_back(&train_.prompts[static_cast<size_t>(place)]);
    }
    generation = judged(sample(prompts, options_.num_generations, number, options_.sampling, model, stop),
                        prompts, world, stop);
  }
  complete(generation);
  if (world.rank() == 0) ledger_->write(number, generation);
  world.barrier();
  return generation;
}

std::optional<Generation> RolloutSource::evaluate(parallel::DistributedModel& model,
                                                  std::optional<int64_t> max_prompts,
                                                  const core::StopRequest& stop) const {
  if (eval_.prompts.empty() || !rewards_) return std::nullopt;
  std::vector<const Prompt*> prompts;
  for (const Prompt& prompt : eval_.prompts) {
    if (static_cast<int64_t>(prompts.size()) <
        max_prompts.value_or(static_cast<int64_t>(eval_.prompts.size())))
      prompts.push_back(&prompt);
  }
  return judged(sample(prompts, 1, 0, {.temperature = 0.0}, model, stop), prompts, model.mesh().world(),
                stop);
}

}  // namespace phalanx::trainer
