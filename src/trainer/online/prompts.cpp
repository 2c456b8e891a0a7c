#include "trainer/online/prompts.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "core/error.h"
#include "core/run_options.h"
#include "data/example.h"
#include "data/quarantine.h"
#include "data/record_reader.h"

namespace phalanx::trainer {
namespace {

Prompt build(const data::Record& record, const data::ExampleBuilder& builder, int64_t max_tokens) {
  if (record.kind != data::Record::Kind::kPrompt) {
    core::fail(core::ExitCode::kBadInput,
               "is a record of format {} ({}), but answers are sampled to prompts alone: {{\"prompt\": ...}} "
               "with a \"ground_truth\" or \"answer\" to verify",
               record.format, data::describe(record.kind));
  }
  data::Example example = builder.build_prompt(record);
  if (example.ids.empty()) core::fail(core::ExitCode::kBadInput, "the prompt has no token");
  if (static_cast<int64_t>(example.ids.size()) > max_tokens) {
    core::fail(core::ExitCode::kBadInput,
               "the prompt has {} tokens but at most {} leave room for the answer; shorten it, or lower "
               "method.max_completion_length",
               example.ids.size(), max_tokens);
  }
  return {record, std::move(example.ids), std::move(example.text), 0};
}

}  // namespace

PromptSet read_prompts(const core::Config& config, const std::vector<data::SourceOptions>& sources,
                       const data::Tokenizer& tokenizer, const std::string& chat_template,
                       int64_t max_prompt_tokens, bool writes_quarantine) {
  const auto& options = config.get<data::DataOptions>();
  const data::ExampleBuilder builder(
      tokenizer,
      {.special_tokens_in_content = options.special_tokens_in_content, .chat_template = chat_template});
  PromptSet set;
  std::vector<data::BadRecord> bad;
  std::vector<std::string> files;
  int64_t record_id = 0;
  for (const data::SourceOptions& source : sources) {
    files.push_back(source.path);
    const auto begin = static_cast<int64_t>(set.prompts.size());
    const auto reader = data::open_records(source.path, {source.documents});
    data::RawRecord raw;
    for (; reader->next(raw); ++record_id) {
      try {
        if (!raw.problem.empty()) core::fail(core::ExitCode::kBadInput, "{}", raw.problem);
        set.prompts.push_back(
            build(data::read_record(reader->parse(raw), source.format), builder, max_prompt_tokens));
        set.prompts.back().record_id = record_id;
      } catch (const core::Error& error) {
        bad.push_back({source.path, raw.line, raw.byte, error.what()});
      }
    }
    set.ranges.push_back({begin, static_cast<int64_t>(set.prompts.size()), source.weight});
  }
  set.num_bad = static_cast<int64_t>(bad.size());
  if (writes_quarantine)
    data::update_quarantine(config.get<core::RunOptions>().output_dir + "/quarantine.jsonl", bad, files, {});
  if (set.num_bad > options.max_bad_records) {
    core::fail(core::ExitCode::kBadInput, "{}: line {}: {} ({} bad records, data.max_bad_records is {})",
               bad[0].file, bad[0].line, bad[0].reason, set.num_bad, options.max_bad_records);
  }
  if (set.prompts.empty())
    core::fail(core::ExitCode::kBadInput, "{}: there is no prompt", fmt::join(files, ", "));
  return set;
}

}  // namespace phalanx::trainer
