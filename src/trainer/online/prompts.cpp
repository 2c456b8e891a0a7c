#include "trainer/online/prompts.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <map>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/run_options.h"
#include "data/quarantine.h"
#include "data/record_reader.h"

namespace phalanx::trainer {
namespace {

/// A record of a file: a prompt, or what is wrong with it.
struct ReadRecord {
  data::Record record;
  data::BadRecord place;  ///< its reason is empty while nothing is wrong
  size_t source;
};

std::vector<ReadRecord> read_all(const std::vector<data::SourceOptions>& sources) {
  std::vector<ReadRecord> all;
  for (size_t s = 0; s < sources.size(); ++s) {
    const auto reader = data::open_records(sources[s].path, {sources[s].documents});
    data::RawRecord raw;
    while (reader->next(raw)) {
      ReadRecord read{{}, {sources[s].path, raw.line, raw.byte, raw.problem}, s};
      try {
        if (raw.problem.empty()) read.record = data::read_record(reader->parse(raw), sources[s].format);
      } catch (const core::Error& error) {
        read.place.reason = error.what();
      }
      all.push_back(std::move(read));
    }
  }
  return all;
}

/// @throws core::Error: why it cannot be used.
void check_prompt(const data::Record& record, const data::ExampleBuilder& builder, int64_t max_tokens) {
  if (record.kind != data::Record::Kind::kPrompt) {
    core::fail(core::ExitCode::kBadInput,
               "is a record of format {} ({}), but answers are sampled to prompts alone: {{\"prompt\": ...}} "
               "with a \"ground_truth\" or \"answer\" to verify",
               record.format, data::describe(record.kind));
  }
  const size_t count = builder.build_prompt(record).ids.size();
  if (count == 0) core::fail(core::ExitCode::kBadInput, "the prompt has no token");
  if (static_cast<int64_t>(count) > max_tokens) {
    core::fail(core::ExitCode::kBadInput,
               "the prompt has {} tokens but at most {} leave room for the answer; shorten it, or lower "
               "method.max_completion_length",
               count, max_tokens);
  }
}

/// Each rank looks at some; all learn what is wrong.
void check_all(std::vector<ReadRecord>& records, const data::ExampleBuilder& builder, int64_t max_tokens,
               comm::Communicator& group) {
  std::map<std::string, std::string> mine;
  for (size_t i = 0; i < records.size(); ++i) {
    const bool is_mine = i % static_cast<size_t>(group.size()) == static_cast<size_t>(group.rank());
    if (!is_mine || !records[i].place.reason.empty()) continue;
    try {
      check_prompt(records[i].record, builder, max_tokens);
    } catch (const core::Error& error) {
      if (error.code() != core::ExitCode::kBadInput) throw;
      mine[std::to_string(i)] = error.what();
    }
  }
  for (const std::string& text : group.all_gather_strings(
           nlohmann::json(mine).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace))) {
    const nlohmann::json found = nlohmann::json::parse(text);
    for (const auto& [index, reason] : found.items())
      records[std::stoul(index)].place.reason = reason.get<std::string>();
  }
}

}  // namespace

PromptSet::PromptSet(const core::Config& config, const std::vector<data::SourceOptions>& sources,
                     const data::Tokenizer& tokenizer, const std::string& chat_template,
                     int64_t max_prompt_tokens, comm::Communicator& group)
    : builder_(tokenizer,
               {.special_tokens_in_content = config.get<data::DataOptions>().special_tokens_in_content,
                .chat_template = chat_template}) {
  const auto& options = config.get<data::DataOptions>();
  std::vector<ReadRecord> records = read_all(sources);
  check_all(records, builder_, max_prompt_tokens, group);
  std::vector<data::BadRecord> bad;
  std::vector<std::string> files;
  for (const data::SourceOptions& source : sources) {
    files.push_back(source.path);
    ranges_.push_back({0, 0, source.weight});
  }
  for (size_t i = 0; i < records.size(); ++i) {
    if (!records[i].place.reason.empty()) {
      bad.push_back(records[i].place);
      continue;
    }
    entries_.push_back({std::move(records[i].record), static_cast<int64_t>(i)});
    ++ranges_[records[i].source].end;  // a count, for now
  }
  for (size_t s = 1; s < ranges_.size(); ++s) {
    ranges_[s].begin = ranges_[s - 1].end;
    ranges_[s].end += ranges_[s].begin;
  }
  num_bad_ = static_cast<int64_t>(bad.size());
  if (group.rank() == 0)
    data::update_quarantine(config.get<core::RunOptions>().output_dir + "/quarantine.jsonl", bad, files, {});
  if (num_bad_ > options.max_bad_records) {
    core::fail(core::ExitCode::kBadInput, "{}: line {}: {} ({} bad records, data.max_bad_records is {})",
               bad[0].file, bad[0].line, bad[0].reason, num_bad_, options.max_bad_records);
  }
  if (entries_.empty())
    core::fail(core::ExitCode::kBadInput, "{}: there is no prompt", fmt::join(files, ", "));
}

Prompt PromptSet::at(int64_t place) const {
  const Entry& entry = entries_[static_cast<size_t>(place)];
  data::Example example = builder_.build_prompt(entry.record);
  return {&entry.record, std::move(example.ids), std::move(example.text), entry.record_id};
}

}  // namespace phalanx::trainer
