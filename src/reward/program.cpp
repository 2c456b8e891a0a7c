#include "reward/program.h"

#include <cmath>
#include <map>

#include "core/error.h"
#include "data/jinja_library.h"
#include "data/json_value.h"
#include "reward/judgement.h"
#include "reward/parallel_runs.h"
#include "reward/random_id.h"
#include "reward/sandbox.h"
#include "reward/utf8.h"

namespace phalanx::reward {
namespace {

using data::jinja::Dict;
using data::jinja::Value;

constexpr int64_t kMaxResultBytes = 4096;  // of the line of one sample

std::string request_line(const Sample& sample, const std::string& id) {
  Dict line;
  line.set("id", id);
  line.set("prompt", valid_utf8(sample.prompt));
  line.set("completion", valid_utf8(sample.completion));
  line.set("ground_truth", sample.record->ground_truth.is_undefined() ? Value(data::jinja::None())
                                                                      : sample.record->ground_truth);
  line.set("fields", Value(sample.record->fields));
  return data::jinja::to_json(Value(std::move(line))) + "\n";
}

/// Where the id of a result belongs and what the result says; `wrong` for anything that is none.
bool read_result(std::string_view line, const std::map<std::string, size_t>& places, size_t* place,
                 Score* score, std::string* wrong) {
  Value json;
  data::JsonProblem problem;
  if (!data::parse_json(line, &json, &problem)) {
    *wrong = "is not JSON (" + problem.reason + ")";
    return false;
  }
  const Value* id = json.is_dict() ? json.dict().find("id") : nullptr;
  const Value* reward = json.is_dict() ? json.dict().find("reward") : nullptr;
  const bool is_score = reward != nullptr && (reward->is_int() || reward->is_double() || reward->is_none());
  if (id == nullptr || !id->is_text() || !is_score || json.dict().size() != 2) {
    *wrong = "is not {\"id\": text, \"reward\": number or null}";
    return false;
  }
  const auto found = places.find(id->text());
  if (found == places.end()) {
    *wrong = "has an id that no sample has";
    return false;
  }
  *place = found->second;
  *score = reward->is_none() ? std::nullopt : Score(data::jinja::to_double(*reward));
  return true;
}

class ProgramReward : public Reward {
 public:
  explicit ProgramReward(const TermOptions& options)
      : options_(options),
        sandbox_({.command = options.command,
                  .readable = options.readable,
                  .has_namespaces = options.sandbox != "none",
                  .limits = {.timeout_s = options.timeout_s,
                             .memory_bytes = options.memory_mb << 20,
                             .max_output_bytes = kMaxResultBytes * options.samples_per_run}}) {}

  std::vector<Judgement> score(std::span<const Sample> samples, const core::StopRequest& stop) override {
    const auto size = static_cast<size_t>(options_.samples_per_run);
    std::vector<Judgement> judgements(samples.size());
    run_in_parallel((samples.size() + size - 1) / size, static_cast<size_t>(options_.num_parallel),
                    [&](size_t i) {
                      const size_t begin = i * size, count = std::min(size, samples.size() - begin);
                      judge(samples.subspan(begin, count), std::span(judgements).subspan(begin, count), stop);
                    });
    return judgements;
  }

 private:
  void judge(std::span<const Sample> samples, std::span<Judgement> judgements,
             const core::StopRequest& stop) const {
    std::string input;
    std::map<std::string, size_t> places;
    for (size_t i = 0; i < samples.size(); ++i) {
      const std::string id = random_id();
      places[id] = i;
      input += request_line(samples[i], id);
    }
    const SandboxRun run = sandbox_.run(input, stop);
    std::string problem = run.problem.empty() ? read_results(run.output, places, judgements) : run.problem;
    if (problem.empty()) return;
    if (!run.message.empty()) problem += ", and said: " + run.message;
    for (Judgement& judgement : judgements) judgement = {std::nullopt, "the program " + problem};
  }

  /// What is wrong with the output as a whole: it is taken whole or not at all.
  static std::string read_results(std::string_view output, const std::map<std::string, size_t>& places,
                                  std::span<Judgement> judgements) {
    std::vector<bool> has_result(judgements.size());
    size_t num_lines = 0;
    while (!output.empty()) {
      const std::string_view line = output.substr(0, output.find('\n'));
      output.remove_prefix(std::min(output.size(), line.size() + 1));
      ++num_lines;
      size_t place = 0;
      Score score;
      std::string wrong;
      if (read_result(line, places, &place, &score, &wrong) && has_result[place]) wrong = "repeats an id";
      if (!wrong.empty()) return fmt::format("wrote a line that {}: {}", wrong, core::printable(line, 80));
      has_result[place] = true;
      judgements[place].score = score;
    }
    if (num_lines == judgements.size()) return {};
    return fmt::format("wrote {} results for {} samples", num_lines, judgements.size());
  }

  TermOptions options_;
  Sandbox sandbox_;
};

}  // namespace

std::unique_ptr<Reward> program(const TermOptions& options) {
  return std::make_unique<ProgramReward>(options);
}

}  // namespace phalanx::reward
