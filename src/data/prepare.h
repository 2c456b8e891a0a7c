#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "data/data_options.h"
#include "data/dataset.h"
#include "data/record_samples.h"
#include "data/tokenizer.h"

namespace phalanx::data {

struct PrepareOptions {
  std::vector<SourceOptions> sources;
  DataOptions data;
  std::string chat_template;  ///< Jinja source
  std::string cache_dir;
  std::string quarantine;                ///< path of quarantine.jsonl
  SampleKind kind = SampleKind::kWhole;  ///< of records that judge answers, each is a row
  std::string step_separator = "\n";     ///< ExampleOptions
};

/// Reads, tokenises, masks and packs the sources, or maps the result of an earlier run: the cache file's name
/// and key are a hash of the files (path, size, modification time, first and last MiB), tokenizer, template
/// and settings. `built` says which of the two it was. A damaged cache is reported and made again.
/// quarantine.jsonl lists the bad records of these sources afterwards, also when they came from the cache.
/// @throws core::Error (65) for bad data, naming file and line; (78) for a file listed twice.
Dataset prepare(const PrepareOptions& options, const Tokenizer& tokenizer, bool* built = nullptr);

/// The start-up report of a data set: counts of records, tokens, targets and drops with reasons, and one
/// decoded example with its trained part between marks.
std::string describe(const Dataset& dataset, const Tokenizer& tokenizer, const std::string& name);

}  // namespace phalanx::data
