#include "trainer/data_setup.h"

#include <fmt/format.h>

#include "core/error.h"
#include "core/run_options.h"
#include "data/prepare.h"
#include "data/record.h"
#include "data/record_reader.h"
#include "trainer/options.h"

namespace phalanx::trainer {
namespace {

std::string summary(const data::Dataset& dataset, const data::Tokenizer& tokenizer, const std::string& name,
                    bool built) {
  return data::describe(dataset, tokenizer, name) +
         fmt::format("\n{}: {}\n", name, built ? "tokenised now" : "mapped from the cache");
}

}  // namespace

void check_data_header(const data::SourceOptions& source) {
  const auto reader = data::open_records(source.path, {source.documents});
  data::RawRecord record;
  if (!reader->next(record))
    core::fail(core::ExitCode::kBadInput, "{}: the file is empty; it must hold at least one record",
               source.path);
  try {
    if (!record.problem.empty()) core::fail(core::ExitCode::kBadInput, "{}", record.problem);
    data::read_record(reader->parse(record), source.format);
  } catch (const core::Error& error) {
    core::fail(core::ExitCode::kBadInput, "{}: line {}: {}", source.path, record.line, error.what());
  }
}

data::Dataset prepare_on_ranks(const core::Config& config, const std::vector<data::SourceOptions>& sources,
                               const std::string& chat_template, const data::Tokenizer& tokenizer,
                               comm::Communicator& group, bool* built, data::SampleKind kind) {
  const auto& data = config.get<data::DataOptions>();
  const std::string& folder = config.get<core::RunOptions>().output_dir;
  if (group.rank() != 0) group.barrier();  // after rank 0 has written the cache
  data::Dataset dataset = data::prepare(
      {sources, data, chat_template, data.cache_dir.value_or(folder + "/cache"), folder + "/quarantine.jsonl",
       kind, config.get<MethodOptions>().step_separator.value_or("\n")},
      tokenizer, built);
  if (group.rank() == 0) group.barrier();
  return dataset;
}

data::Sampler make_sampler(const core::Config& config, std::vector<data::SourceRange> sources) {
  const auto& order = config.get<data::DataOptions>();
  return data::Sampler(std::move(sources), static_cast<uint64_t>(config.get<core::RunOptions>().seed),
                       order.shuffle, order.interleave);
}

TrainingData set_up_data(const core::Config& config, const ModelSetup& model, comm::Communicator& group,
                         std::string& report, data::SampleKind kind) {
  const auto& options = config.get<data::DataOptions>();
  if (options.train.empty())
    core::fail(core::ExitCode::kBadConfig,
               "data.train is empty; name at least one file: data: {{train: [{{path: FILE}}]}}");
  const auto build = [&](const std::vector<data::SourceOptions>& sources, const char* name) {
    bool built = false;
    data::Dataset dataset =
        prepare_on_ranks(config, sources, model.chat_template(), model.tokenizer(), group, &built, kind);
    if (group.rank() == 0) report += summary(dataset, model.tokenizer(), name, built);
    return dataset;
  };
  TrainingData data{build(options.train, "data.train"), std::nullopt};
  if (!options.eval.empty()) data.eval.emplace(build(options.eval, "data.eval"));
  return data;
}

}  // namespace phalanx::trainer
