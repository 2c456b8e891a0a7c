// kind: generate. Prompts in, several answers to each out: {"prompt", "completions": [...]}.
#include <algorithm>
#include <numeric>

#include "core/error.h"
#include "core/files.h"
#include "core/log.h"
#include "core/random.h"
#include "data/jinja_library.h"
#include "data/prompt_of.h"
#include "data/record_reader.h"
#include "generate/stop_strings.h"
#include "launch/json_stream.h"
#include "launch/ranks.h"
#include "launch/spread_model.h"
#include "pipeline/pipeline_file.h"
#include "trainer/generation.h"

namespace phalanx::launch {
namespace {

struct GenerateStage {
  std::string source, prompts;
  std::optional<int64_t> max_prompts;
  int64_t num_samples = 2, max_new_tokens = 128, top_k = 0, seed = 0;
  double temperature = 1.0, top_p = 1.0, min_p = 0.0, repetition_penalty = 1.0;
  std::vector<std::string> stop;
};

struct Question {
  nlohmann::ordered_json prompt;  // text, or a list of messages
  std::vector<int32_t> ids;
};

Question question_of(const data::Record& record, const data::ExampleBuilder& builder) {
  const bool is_text = !record.prompt.empty();
  return {is_text ? nlohmann::ordered_json(record.prompt)
                  : nlohmann::ordered_json::parse(data::jinja::to_json(record.messages)),
          builder.build_prompt(record).ids};
}

std::vector<data::Record> read_questions(const std::string& path) {
  const auto reader = data::open_records(path);
  std::vector<data::Record> records;
  for (data::RawRecord raw; reader->next(raw);) {
    try {
      if (!raw.problem.empty()) core::fail(core::ExitCode::kBadInput, "{}", raw.problem);
      records.push_back(data::prompt_of(data::read_record(reader->parse(raw), "auto")));
    } catch (const core::Error& error) {
      core::fail(error.code(), "{}: line {} (byte {}): {}", path, raw.line, raw.byte, error.what());
    }
  }
  if (records.empty()) core::fail(core::ExitCode::kBadInput, "{}: holds no prompt", path);
  return records;
}

/// Which of `size` prompts are answered in this round, in the order of the file: others in each round.
std::vector<size_t> chosen_prompts(const GenerateStage& keys, size_t size, int64_t round) {
  std::vector<size_t> chosen(size);
  std::iota(chosen.begin(), chosen.end(), size_t{0});
  if (!keys.max_prompts || static_cast<size_t>(*keys.max_prompts) >= size) return chosen;
  const auto count = static_cast<size_t>(*keys.max_prompts);
  const size_t first = static_cast<size_t>(round - 1) * count;
  const uint64_t stream = core::stream_id("generate.prompts");
  for (size_t i = 0; i < count; ++i)
    chosen[i] = static_cast<size_t>(
        core::permute(static_cast<uint64_t>(keys.seed), stream, size, (first + i) % size));
  chosen.resize(count);
  std::sort(chosen.begin(), chosen.end());
  return chosen;
}

std::vector<Question> questions_of(const pipeline::Stage& stage, const SpreadModel& spread) {
  const auto& keys = stage.options<GenerateStage>();
  const data::ExampleBuilder builder = example_builder(spread.source(), stage.config);
  const std::vector<data::Record> records = read_questions(keys.prompts);
  std::vector<Question> questions;
  for (const size_t i : chosen_prompts(keys, records.size(), stage.round))
    questions.push_back(question_of(records[i], builder));
  return questions;
}

generate::GenerateOptions sampling_of(const pipeline::Stage& stage, const data::Tokenizer& tokenizer) {
  const auto& keys = stage.options<GenerateStage>();
  generate::GenerateOptions options;
  options.max_new_tokens = keys.max_new_tokens;
  options.num_samples = keys.num_samples;
  options.stop_ids = tokenizer.stop_ids();
  options.stop_strings = keys.stop;
  options.tokenizer = &tokenizer;
  options.step = static_cast<uint64_t>(stage.round);
  options.rollout = stage.config.get<generate::RolloutOptions>();
  options.sampling = {.temperature = keys.temperature,
                      .top_k = keys.top_k,
                      .top_p = keys.top_p,
                      .min_p = keys.min_p,
                      .repetition_penalty = keys.repetition_penalty,
                      .seed = static_cast<uint64_t>(keys.seed)};
  options.sampling.validate();
  return options;
}

/// A row for each prompt. Empty answers, which nobody can learn from, are left out, and so is a prompt for
/// which too few are left to choose from.
std::string answer_rows(const std::vector<Question>& questions,
                        const std::vector<generate::Completion>& completions,
                        const generate::GenerateOptions& options) {
  std::string rows;
  const auto per_prompt = static_cast<size_t>(options.num_samples);
  size_t num_empty = 0;
  for (size_t i = 0; i < questions.size(); ++i) {
    nlohmann::ordered_json answers = nlohmann::ordered_json::array();
    for (size_t k = i * per_prompt; k < (i + 1) * per_prompt; ++k) {
      const std::string text = options.tokenizer->decode(completions[k].ids, /*skip_special_tokens=*/true);
      const std::string answer(generate::before_stop_string(text, options.stop_strings));
      if (answer.find_first_not_of(" \t\r\n") == std::string::npos) {
        ++num_empty;
      } else if (questions[i].prompt.is_string()) {
        answers.push_back(answer);
      } else {
        const nlohmann::ordered_json message = {{"role", "assistant"}, {"content", answer}};
        answers.push_back(nlohmann::ordered_json::array({message}));
      }
    }
    if (answers.size() < std::min<size_t>(per_prompt, 2)) continue;
    const nlohmann::ordered_json row = {{"prompt", questions[i].prompt}, {"completions", answers}};
    rows += row.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
  }
  if (num_empty > 0) core::log_warning("left out {} empty answers of {}", num_empty, completions.size());
  return rows;
}

int generate_stage(const pipeline::Stage& stage) {
  return on_ranks(stage.config, [&](comm::Communicator& group) {
    SpreadModel spread(stage.options<GenerateStage>().source, stage.config, group);
    const std::vector<Question> questions = questions_of(stage, spread);
    std::vector<std::vector<int32_t>> prompts;
    for (const Question& question : questions) prompts.push_back(question.ids);
    const generate::GenerateOptions options = sampling_of(stage, spread.tokenizer());
    generate::GenerateStats stats;
    const auto completions = trainer::generate(spread.model(), prompts, options, &stats);
    if (group.rank() != 0) return 0;
    core::write_file_atomic(stage.result_path(), answer_rows(questions, completions, options));
    core::log_note("{}: {} answers to {} prompts, {:.1f} tok/s", stage.result_path(), completions.size(),
                   questions.size(), stats.tokens_per_s());
    return 0;
  });
}

void declare_sampling(core::SectionBuilder<GenerateStage>& s) {
  using G = GenerateStage;
  s.field("num_samples", &G::num_samples, {.help = "Answers to each prompt.", .min = 1});
  s.field("max_new_tokens", &G::max_new_tokens, {.help = "Longest answer.", .unit = "tokens", .min = 1});
  s.field("temperature", &G::temperature,
          {.help = "Logits are divided by it; 0: the likeliest token.", .min = 0});
  s.field("top_k", &G::top_k, {.help = "Sample from the k most likely tokens; 0: from all.", .min = 0});
  s.field("top_p", &G::top_p,
          {.help = "Sample from the fewest tokens that reach probability p.",
           .min = 0,
           .max = 1,
           .above_min = true});
  s.field("min_p", &G::min_p,
          {.help = "Sample from tokens with this share of the highest probability.", .min = 0, .max = 1});
  s.field("repetition_penalty", &G::repetition_penalty,
          {.help = "Above 1: tokens seen before become less likely.", .min = 0, .above_min = true});
  s.field("stop", &G::stop, {.help = "An answer ends before any of these texts.", .one_or_many = true});
  s.field("seed", &G::seed, {.help = "Names the samples and the choice of prompts.", .min = 0});
}

pipeline::StageKind generate_kind() {
  using G = GenerateStage;
  pipeline::StageKind kind = pipeline::make_kind<G>(
      "generate", "Several answers of a model to each prompt.", [](core::SectionBuilder<G>& s) {
        s.field("source", &G::source,
                {.help = "Whose answers.", .required_in_item = true, .path = core::PathOf::kAnyModel});
        s.field("prompts", &G::prompts,
                {.help = "Records with prompts; answers in them are left out.",
                 .required_in_item = true,
                 .path = core::PathOf::kRecords});
        s.field("max_prompts", &G::max_prompts,
                {.help = "So many of them, drawn by seed; in rounds, others each time.", .min = 1});
        declare_sampling(s);
      });
  kind.reads = {"run.threads",     "run.determinism",     "parallel",
                "rollout",         "train.precision",     "model.path",
                "model.tokenizer", "model.chat_template", "data.special_tokens_in_content"};
  kind.own_only = {"model"};
  kind.result = [](const pipeline::Stage&) {
    return pipeline::Result{"answers.jsonl", core::PathOf::kRecords};
  };
  kind.run = generate_stage;
  return kind;
}

[[maybe_unused]] const bool generate_kind_registered = pipeline::register_stage_kind(generate_kind);

}  // namespace
}  // namespace phalanx::launch
