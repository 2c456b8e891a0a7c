#include "label/pair_scores.h"

#include <cmath>
#include <filesystem>
#include <map>

#include "core/error.h"
#include "core/files.h"

namespace phalanx::label {
namespace {

constexpr uint64_t kMaxCacheBytes = uint64_t{1} << 30;
constexpr std::string_view kCacheFormat = "phalanx-label-scores-1";

/// By the pair's id. A cache of another judge, or one that cannot be read, is as good as none.
core::Json read_cache(const std::string& path, const std::string& judge) {
  if (!std::filesystem::exists(path)) return core::Json::object();
  try {
    core::Json cache = core::read_json(path, kMaxCacheBytes);
    const bool fits = cache.is_object() && cache.value("format", "") == kCacheFormat &&
                      cache.value("judge", "") == judge && cache.contains("margins") &&
                      cache["margins"].is_object();
    return fits ? cache["margins"] : core::Json::object();
  } catch (const core::Error&) {
    return core::Json::object();
  }
}

void write_cache(const std::string& path, const std::string& judge, const std::vector<AnswerPair>& pairs) {
  std::map<std::string, double> margins;
  for (const AnswerPair& pair : pairs) margins[pair.id] = *pair.margin;
  const core::Json cache = {{"format", kCacheFormat}, {"judge", judge}, {"margins", margins}};
  core::write_file_atomic(path, core::to_text(cache, 1) + "\n");
}

}  // namespace

size_t score_pairs(std::vector<AnswerPair>& pairs, const Judge& judge, const std::string& cache) {
  const core::Json stored = read_cache(cache, judge.id);
  std::map<std::string, double> known;
  for (const auto& [id, margin] : stored.items()) {
    if (margin.is_number()) known[id] = margin.get<double>();
  }
  std::vector<AnswerPair*> asked;
  for (AnswerPair& pair : pairs) {
    const auto before = known.find(pair.id);
    if (before != known.end()) {
      pair.margin = before->second;
    } else {
      asked.push_back(&pair);
    }
  }
  if (asked.empty()) return 0;
  const std::vector<double> margins =
      judge.margins(std::vector<const AnswerPair*>(asked.begin(), asked.end()));
  for (size_t i = 0; i < asked.size(); ++i) {
    if (!std::isfinite(margins.at(i)))
      core::fail(core::ExitCode::kBadInput, "the judge's margin of the pair {} is not a finite number",
                 asked[i]->id);
    asked[i]->margin = margins[i];
  }
  write_cache(cache, judge.id, pairs);
  return asked.size();
}

}  // namespace phalanx::label
