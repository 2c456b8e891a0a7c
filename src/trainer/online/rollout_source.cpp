#include "trainer/online/rollout_source.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "core/log.h"
#include "trainer/online/advantages.h"
#include "trainer/postponed.h"
#include "trainer/rollouts.h"

namespace phalanx::trainer {
namespace {

std::vector<reward::Sample> samples_of(const std::vector<Prompt>& prompts, const Generation& groups,
                                       int64_t max_tokens) {
  std::vector<reward::Sample> samples;
  for (size_t g = 0; g < groups.size(); ++g) {
    for (const Rollout& rollout : groups[g].rollouts) {
      samples.push_back({prompts[g].record, groups[g].prompt, rollout.text,
                         static_cast<int64_t>(rollout.ids.size()), rollout.finish_reason == "length",
                         max_tokens, groups[g].prompt_ids, rollout.ids});
    }
  }
  return samples;
}

void take_scores(Generation& groups, const reward::Scores& scores) {
  size_t next = 0;
  for (RolloutGroup& group : groups) {
    for (Rollout& rollout : group.rollouts) {
      rollout.reward = scores.totals[next];
      for (size_t t = 0; t < scores.names.size(); ++t)
        rollout.terms[scores.names[t]] = scores.terms[t][next].score;
      ++next;
    }
  }
}

}  // namespace

RolloutSource::RolloutSource(const RolloutSetup& setup, parallel::DistributedModel& model)
    : setup_(setup), model_(model) {
  if (setup.rewards()) rewards_.emplace(setup.rewards()->start(model));
}

Generation RolloutSource::generation(int64_t number, const std::function<void(Generation&)>& complete) {
  comm::Communicator& world = model_.mesh().world();
  const int64_t begin = !setup_.options().dynamic_sampling ? number * setup_.groups_per_generation()
                        : number == number_                ? first_prompt_
                                                           : next_prompt_;
  std::string text;
  if (is_main()) {
    if (const auto found = setup_.ledger().find(number, setup_.key())) text = to_jsonl(*found);
  }
  text = world.broadcast_string(text);
  Generation generation;
  if (!text.empty()) {
    generation = generation_from_jsonl(text, "rollouts");
  } else {
    generation = setup_.is_recorded() ? setup_.recorded(number) : sampled(number, begin);
    complete(generation);
    if (is_main()) setup_.ledger().write(number, setup_.key(), generation);
    world.barrier();
  }
  number_ = number;
  first_prompt_ = begin;
  next_prompt_ = generation.back().place + 1;  // all that are drawn in the last round are kept
  return generation;
}

Generation RolloutSource::sampled(int64_t number, int64_t begin) {
  if (!pending_) pending_ = Pending{.next_prompt = begin};
  while (static_cast<int64_t>(pending_->kept.size()) < setup_.groups_per_generation()) {
    if (!pending_->round) draw_round(*pending_, number, begin);
    judge(*pending_->round);
    check_judged(*pending_->round->scores);
    keep_groups(*pending_);
  }
  Generation generation = std::move(pending_->kept);
  pending_.reset();
  return generation;
}

/// As many as are missing.
void RolloutSource::draw_round(Pending& pending, int64_t number, int64_t begin) {
  std::vector<Prompt> prompts;
  const int64_t first = pending.next_prompt;
  const int64_t missing = setup_.groups_per_generation() - static_cast<int64_t>(pending.kept.size());
  for (; pending.next_prompt < first + missing; ++pending.next_prompt)
    prompts.push_back(setup_.prompt(pending.next_prompt));
  generate::GenerateOptions options;
  options.sampling = setup_.options().sampling;
  options.step = static_cast<uint64_t>(number);
  options.first_prompt = static_cast<uint64_t>(first - begin);
  pending.round = draw(std::move(prompts), setup_.options().num_generations, std::move(options));
  for (size_t g = 0; g < pending.round->groups.size(); ++g)
    pending.round->groups[g].place = first + static_cast<int64_t>(g);
}

void RolloutSource::keep_groups(Pending& pending) const {
  const PolicyOptions& options = setup_.options();
  const bool keeps_all = !options.dynamic_sampling || pending.num_rounds == options.max_resampling;
  for (RolloutGroup& group : pending.round->groups) {
    Rewards rewards;
    for (const Rollout& rollout : group.rollouts) rewards.push_back(rollout.reward);
    if (keeps_all || has_spread(rewards)) pending.kept.push_back(std::move(group));
  }
  pending.round.reset();
  ++pending.num_rounds;
}

RolloutSource::Round RolloutSource::draw(std::vector<Prompt> prompts, int64_t group_size,
                                         generate::GenerateOptions options) {
  std::vector<std::vector<int32_t>> ids;
  for (const Prompt& prompt : prompts) ids.push_back(prompt.ids);
  const data::Tokenizer& tokenizer = setup_.tokenizer();
  options.max_new_tokens = setup_.options().loss.max_completion_length;
  options.sampling.seed = setup_.seed();
  options.stop_ids = tokenizer.stop_ids();
  options.rollout = setup_.rollout();
  std::vector<generate::Completion> completions = rollouts(model_, ids, group_size, options);
  Round round;
  size_t next = 0;
  for (const Prompt& prompt : prompts) {
    RolloutGroup group{prompt.record_id, prompt.text, prompt.ids, {}};
    for (int64_t i = 0; i < group_size; ++i) {
      generate::Completion& completion = completions[next++];
      Rollout rollout;
      rollout.text = tokenizer.decode(completion.ids, /*skip_special_tokens=*/true);
      rollout.ids = std::move(completion.ids);
      rollout.sampling_logprobs = std::move(completion.logprobs);
      rollout.finish_reason = completion.finish_reason;
      group.rollouts.push_back(std::move(rollout));
    }
    round.groups.push_back(std::move(group));
  }
  round.prompts = std::move(prompts);
  return round;
}

void RolloutSource::judge(Round& round) {
  const auto samples = samples_of(round.prompts, round.groups, setup_.options().loss.max_completion_length);
  if (round.scores) {
    rewards_->ask_again(*round.scores, samples);
  } else {
    round.scores = rewards_->score(samples);
  }
  take_scores(round.groups, *round.scores);
  if (!is_main()) return;
  for (const std::string& problem : round.scores->problems()) core::log_warning("{}", problem);
}

void RolloutSource::check_judged(const reward::Scores& scores) const {
  const auto failed = static_cast<double>(scores.num_failed()),
             count = static_cast<double>(scores.totals.size());
  const reward::RewardOptions& options = setup_.reward_options();
  if (failed <= options.max_unscorable * count) return;
  throw Postponed(
      fmt::format(
          "{} of {} answers could not be judged, more than reward.max_unscorable = {} of them; nothing "
          "is learned from them (reward.max_outage_s = {})",
          failed, count, options.max_unscorable, options.max_outage_s),
      options.max_outage_s);
}

std::optional<Generation> RolloutSource::evaluate(std::optional<int64_t> max_prompts) {
  if (setup_.eval() == nullptr || !rewards_) return std::nullopt;
  std::vector<Prompt> prompts;
  const int64_t count = std::min(setup_.eval()->size(), max_prompts.value_or(setup_.eval()->size()));
  for (int64_t i = 0; i < count; ++i) prompts.push_back(setup_.eval()->at(i));
  generate::GenerateOptions greedy;
  greedy.sampling.temperature = 0;
  Round round = draw(std::move(prompts), 1, std::move(greedy));
  judge(round);
  return std::move(round.groups);
}

std::vector<Metric> RolloutSource::metrics() const {
  if (!setup_.options().dynamic_sampling || number_ < 0) return {};
  const int64_t drawn = next_prompt_ - first_prompt_;
  return {{"dynamic_sampling/num_prompts", static_cast<double>(drawn)},
          {"dynamic_sampling/num_replaced", static_cast<double>(drawn - setup_.groups_per_generation())}};
}

nlohmann::ordered_json RolloutSource::state() const {
  return {{"generation", number_}, {"first_prompt", first_prompt_}, {"next_prompt", next_prompt_}};
}

void RolloutSource::restore(const nlohmann::ordered_json& state) {
  number_ = state.value("generation", int64_t{-1});
  first_prompt_ = state.value("first_prompt", int64_t{0});
  next_prompt_ = state.value("next_prompt", int64_t{0});
}

}  // namespace phalanx::trainer
