#include <fmt/ranges.h>

#include <algorithm>

#include "core/config.h"
#include "core/error.h"
#include "reward/form_terms.h"
#include "reward/judge.h"
#include "reward/program.h"
#include "reward/reward.h"
#include "reward/verifiers.h"

namespace phalanx::reward {
namespace {

std::vector<std::string> reward_names() {
  std::vector<std::string> names;
  for (const RewardKind& kind : reward_kinds()) names.push_back(kind.name);
  return names;
}

/// Null if there is none of that name.
const RewardKind* find_reward(const std::string& name) {
  const auto& kinds = reward_kinds();
  const auto found =
      std::find_if(kinds.begin(), kinds.end(), [&](const RewardKind& kind) { return kind.name == name; });
  return found == kinds.end() ? nullptr : &*found;
}

void declare_program_keys(core::SectionBuilder<TermOptions>& s) {
  s.field(
      "command", &TermOptions::command,
      {.help = "program: what is started, with its arguments, without a shell. Files that are named here are "
               "shown to it.",
       .path = core::PathOf::kFile});
  s.field("readable", &TermOptions::readable,
          {.help = "program: more files and folders that it may read; besides these there is /usr.",
           .path = core::PathOf::kFile});
  s.field("sandbox", &TermOptions::sandbox,
          {.help = "program: \"none\" lets it see and do what you can.", .one_of = {"namespaces", "none"}});
  s.field("timeout_s", &TermOptions::timeout_s,
          {.help = "program: of one run; judge: of one answer.",
           .unit = "s",
           .min = 0,
           .max = 86400,
           .above_min = true});
  s.field(
      "memory_mb", &TermOptions::memory_mb,
      {.help = "program: address space of each of its processes.", .unit = "MiB", .min = 1, .max = 1 << 30});
  s.field("num_parallel", &TermOptions::num_parallel,
          {.help = "program, judge: how many at the same time.", .min = 1, .max = 256});
  s.field("samples_per_run", &TermOptions::samples_per_run,
          {.help = "program: more than 1 saves starts, but then answers are judged in sight of each other.",
           .min = 1,
           .max = 4096});
}

void declare_judge_keys(core::SectionBuilder<TermOptions>& s) {
  s.field("urls", &TermOptions::urls,
          {.help = "judge: an OpenAI-compatible endpoint, http://HOST:PORT/v1/chat/completions, or several.",
           .one_or_many = true});
  s.field("model", &TermOptions::model, {.help = "judge: its name for the model."});
  s.field("prompt", &TermOptions::prompt,
          {.help = "judge: what it is asked; {prompt}, {completion} and {ground_truth} are filled in."});
  s.field("range", &TermOptions::range,
          {.help = "judge: least and greatest score; another number is no score.", .length = 2});
  s.field("api_key_env", &TermOptions::api_key_env,
          {.help = "judge: name of the environment variable that holds the key; empty: none is sent."});
  s.field("num_attempts", &TermOptions::num_attempts,
          {.help = "judge: tries in all, where the endpoint cannot be reached or says that it is busy.",
           .min = 1,
           .max = 1000});
}

void declare_term(core::SectionBuilder<TermOptions>& s) {
  s.field("name", &TermOptions::name,
          {.help = "What judges.", .one_of = reward_names(), .required_in_item = true});
  s.field("weight", &TermOptions::weight, {.help = "Factor in the sum."});
  s.field(
      "pattern", &TermOptions::pattern,
      {.help =
           "Regular expression (PCRE2; `.` also matches a line break). format_match: what the whole answer "
           "must look like; verifiers and judge: the first group of its last match is the answer."});
  s.field("min_tokens", &TermOptions::min_tokens,
          {.help = "length: shorter answers lose.", .unit = "tokens", .min = 0});
  s.field("max_tokens", &TermOptions::max_tokens,
          {.help = "length: longer answers lose; overlong: L_max, null: method.max_completion_length.",
           .unit = "tokens",
           .min = 1});
  s.field("cache_tokens", &TermOptions::cache_tokens,
          {.help = "overlong: L_cache, over how many tokens before L_max the punishment grows to -1.",
           .unit = "tokens",
           .min = 1});
  s.field("path", &TermOptions::path,
          {.help = "reward_model: its folder (class *ForSequenceClassification with one label), an adapter "
                   "of the method reward, or a run."});
  s.field("ngram_size", &TermOptions::ngram_size,
          {.help = "repetition: words in a row that count as one.", .min = 1, .max = 100});
  declare_program_keys(s);
  declare_judge_keys(s);
}

/// A key that the term does not read. One that has its default says nothing: a resolved config has them of
/// all terms.
void check_term_keys(const core::Config& config, std::vector<core::Violation>& violations) {
  core::SectionBuilder<TermOptions> declared;
  declare_term(declared);
  const auto& terms = config.get<RewardOptions>().terms;
  const TermOptions defaults;
  for (size_t i = 0; i < terms.size(); ++i) {
    const RewardKind* kind = find_reward(terms[i].name);
    if (kind == nullptr) continue;  // reported where the name was read
    for (const core::Field& field : declared.fields) {
      const std::string key = fmt::format("reward.terms.{}.{}", i, field.name);
      const bool is_known = field.name == "name" || field.name == "weight" ||
                            std::find(kind->keys.begin(), kind->keys.end(), field.name) != kind->keys.end();
      if (is_known || !config.is_set(key) || field.get(&terms[i]) == field.get(&defaults)) continue;
      violations.push_back(
          {key, fmt::format("{} means nothing to {}, which knows weight{}{}", key, kind->name,
                            kind->keys.empty() ? "" : ", ", fmt::join(kind->keys, ", "))});
    }
  }
}

const bool registered = core::register_section<RewardOptions>(
    "reward", "What sampled answers are worth.", [](core::SectionBuilder<RewardOptions>& s) {
      s.list("terms", &RewardOptions::terms, {.help = "The reward is the weighted sum of these."},
             std::function(declare_term));
      s.field("max_unscorable", &RewardOptions::max_unscorable,
              {.help = "Share of the answers of a generation on which a term may fail; with more nothing is "
                       "learned from them, and the terms that failed are asked again.",
               .min = 0,
               .max = 1});
      s.field("max_outage_s", &RewardOptions::max_outage_s,
              {.help = "How long to go on asking, with growing pauses; then the run saves a checkpoint and "
                       "ends with exit code 75.",
               .unit = "s",
               .min = 0});
    });
const bool constraint_added = core::add_constraint("reward term keys", check_term_keys);

}  // namespace

const std::vector<RewardKind>& reward_kinds() {
  static const std::vector<RewardKind> kinds = {
      {"exact_match", "1 if the answer is the record's ground truth, else 0.", {"pattern"}, exact_match},
      {"numeric_match",
       "1 if the last number of the answer is the ground truth, else 0.",
       {"pattern"},
       numeric_match},
      {"countdown",
       "1 if the answer is an expression over the record's numbers that is worth the target, else 0.",
       {"pattern"},
       countdown},
      {"format_match", "1 if the whole answer matches the pattern, else 0.", {"pattern"}, format_match},
      {"length", "Below 0 outside of a range of tokens.", {"min_tokens", "max_tokens"}, length},
      {"overlong", "DAPO's soft overlong punishment.", {"max_tokens", "cache_tokens"}, overlong},
      {"program",
       "What a program of yours says, in a sandbox.",
       {"command", "readable", "sandbox", "timeout_s", "memory_mb", "num_parallel", "samples_per_run"},
       program},
      {"judge",
       "The number that another model answers, asked over HTTP.",
       {"urls", "model", "prompt", "pattern", "range", "api_key_env", "timeout_s", "num_attempts",
        "num_parallel"},
       judge},
      {"reward_model", "The score of a reward model, on the mesh that trains.", {"path"}, {}},
      {"repetition", "Below 0 for words that come again in the same order.", {"ngram_size"}, repetition},
  };
  return kinds;
}

const RewardKind& find_reward_kind(const std::string& name) {
  if (const RewardKind* kind = find_reward(name)) return *kind;
  core::fail(core::ExitCode::kBadConfig, "reward.terms: {} is not known; known are {}", core::printable(name),
             fmt::join(reward_names(), ", "));
}

}  // namespace phalanx::reward
