#include "data/prepare.h"

#include <fmt/format.h>

#include <filesystem>
#include <set>

#include "core/error.h"
#include "core/log.h"
#include "data/cache_key.h"
#include "data/quarantine.h"
#include "data/token_set_builder.h"

namespace phalanx::data {
namespace {

std::vector<std::string> paths(const std::vector<SourceOptions>& sources) {
  std::vector<std::string> result;
  for (const SourceOptions& source : sources) result.push_back(source.path);
  return result;
}

std::vector<double> weights(const std::vector<SourceOptions>& sources) {
  std::vector<double> result;
  for (const SourceOptions& source : sources) result.push_back(source.weight);
  return result;
}

void check_sources(const std::vector<SourceOptions>& sources) {
  std::set<std::string> seen;
  for (const SourceOptions& source : sources) {
    std::error_code error;
    const auto canonical = std::filesystem::weakly_canonical(source.path, error).string();
    if (!seen.insert(canonical).second) {
      core::fail(core::ExitCode::kBadConfig, "{}: the file is listed twice; list it once and set its weight",
                 source.path);
    }
  }
}

void quarantine(const PrepareOptions& options, const std::vector<BadRecord>& records) {
  std::vector<std::string> keep = paths(options.data.train);
  for (const std::string& path : paths(options.data.eval)) keep.push_back(path);
  update_quarantine(options.quarantine, records, paths(options.sources), keep);
}

void build(const PrepareOptions& options, const Tokenizer& tokenizer, const std::string& path, uint64_t key) {
  TokenSetBuilder builder(options, tokenizer);
  try {
    for (size_t source = 0; source < options.sources.size(); ++source) builder.read(source);
  } catch (const core::Error&) {
    quarantine(options, builder.bad_records());
    throw;
  }
  TokenSetContent content = builder.finish();
  content.key = key;
  if (cache_key(options, tokenizer) != key) {
    core::fail(core::ExitCode::kBadInput,
               "{}: the file changed while it was read; start again when it is complete",
               options.sources[0].path);
  }
  TokenSet::write(path, content);
}

}  // namespace

Dataset prepare(const PrepareOptions& options, const Tokenizer& tokenizer, bool* built) {
  check_sources(options.sources);
  const uint64_t key = cache_key(options, tokenizer);
  const std::string path = fmt::format("{}/tokens-{:016x}.phx", options.cache_dir, key);
  std::string why;
  auto tokens = TokenSet::open(path, key, why);
  if (built != nullptr) *built = !tokens;
  if (!tokens) {
    if (!why.empty()) core::log_warning("{}; tokenising again", why);
    build(options, tokenizer, path, key);
    tokens = TokenSet::open(path, key, why);
    if (!tokens) core::fail(core::ExitCode::kStorage, "{}; the token cache cannot be read back", why);
  }
  quarantine(options, bad_records_from_json(tokens->report().at("bad")));
  return Dataset(std::move(*tokens), weights(options.sources));
}

}  // namespace phalanx::data
