#include "trainer/online/ledger.h"

#include <fmt/format.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "core/error.h"
#include "core/files.h"
#include "core/json.h"

namespace phalanx::trainer {
namespace {

using nlohmann::json;
constexpr const char* kKey = "rollouts_of";  // of the first line of a run's own file
using nlohmann::ordered_json;

ordered_json number_or_null(const std::optional<double>& value) {
  return value ? ordered_json(*value) : ordered_json(nullptr);
}

template <class T, class Get>
void add_lists(ordered_json& row, const char* key, const RolloutGroup& group, const Get& get) {
  ordered_json lists = ordered_json::array();
  bool is_known = false;
  for (const Rollout& rollout : group.rollouts) {
    const T& values = get(rollout);
    is_known |= !values.empty();
    lists.push_back(values);
  }
  if (is_known) row[key] = std::move(lists);
}

ordered_json to_row(const RolloutGroup& group) {
  ordered_json row = {{"prompt", group.prompt}, {"prompt_ids", group.prompt_ids}};
  using Numbers = std::vector<double>;
  add_lists<std::string>(
      row, "completions", group, [](const Rollout& r) -> auto& { return r.text; });
  add_lists<std::vector<int32_t>>(
      row, "completion_ids", group, [](const Rollout& r) -> auto& { return r.ids; });
  row["rewards"] = ordered_json::array();
  for (const Rollout& rollout : group.rollouts) {
    row["rewards"].push_back(number_or_null(rollout.reward));
    for (const auto& [name, value] : rollout.terms)
      row["reward_terms"][name].push_back(number_or_null(value));
  }
  add_lists<std::string>(
      row, "finish_reasons", group, [](const Rollout& r) -> auto& { return r.finish_reason; });
  add_lists<Numbers>(
      row, "sampling_logprobs", group, [](const Rollout& r) -> auto& { return r.sampling_logprobs; });
  add_lists<Numbers>(
      row, "old_logprobs", group, [](const Rollout& r) -> auto& { return r.old_logprobs; });
  add_lists<Numbers>(
      row, "ref_logprobs", group, [](const Rollout& r) -> auto& { return r.ref_logprobs; });
  row["record_id"] = group.record_id;
  row["place"] = group.place;
  return row;
}

std::optional<double> read_number(const json& value) {
  return value.is_null() ? std::nullopt : std::optional<double>(value.get<double>());
}

/// Calls read(rollout, value) for the answers of a list that must have one entry for each.
template <class Read>
void read_list(const json& row, const char* key, RolloutGroup& group, const Read& read) {
  const auto found = row.find(key);
  if (found == row.end()) return;
  if (!found->is_array() || found->size() != group.rollouts.size())
    core::fail(core::ExitCode::kBadInput, "{} must be a list as long as completion_ids", key);
  for (size_t i = 0; i < group.rollouts.size(); ++i) read(group.rollouts[i], (*found)[i]);
}

void check_length(const std::vector<double>& values, const Rollout& rollout, const char* key) {
  if (!values.empty() && values.size() != rollout.ids.size())
    core::fail(core::ExitCode::kBadInput, "{} has {} numbers for {} tokens", key, values.size(),
               rollout.ids.size());
}

RolloutGroup read_row(const json& row) {
  if (!row.is_object()) core::fail(core::ExitCode::kBadInput, "is not an object");
  for (const char* key : {"prompt_ids", "completion_ids", "rewards"}) {
    if (!row.contains(key)) core::fail(core::ExitCode::kBadInput, "has no {}", key);
  }
  RolloutGroup group;
  group.prompt = row.value("prompt", "");
  group.prompt_ids = row["prompt_ids"].get<std::vector<int32_t>>();
  group.record_id = row.value("record_id", int64_t{0});
  group.place = row.value("place", int64_t{0});
  group.rollouts.resize(row["completion_ids"].size());
  if (group.prompt_ids.empty() || group.rollouts.empty())
    core::fail(core::ExitCode::kBadInput, "prompt_ids and completion_ids must not be empty");
  read_list(row, "completion_ids", group,
            [](Rollout& r, const json& v) { r.ids = v.get<std::vector<int32_t>>(); });
  read_list(row, "rewards", group, [](Rollout& r, const json& v) { r.reward = read_number(v); });
  read_list(row, "completions", group, [](Rollout& r, const json& v) { r.text = v.get<std::string>(); });
  read_list(row, "finish_reasons", group,
            [](Rollout& r, const json& v) { r.finish_reason = v.get<std::string>(); });
  const auto numbers = [&](const char* key, std::vector<double> Rollout::*member) {
    read_list(row, key, group, [&](Rollout& r, const json& v) {
      r.*member = v.get<std::vector<double>>();
      check_length(r.*member, r, key);
    });
  };
  numbers("sampling_logprobs", &Rollout::sampling_logprobs);
  numbers("old_logprobs", &Rollout::old_logprobs);
  numbers("ref_logprobs", &Rollout::ref_logprobs);
  if (row.contains("reward_terms")) {
    for (const auto& [name, values] : row["reward_terms"].items())
      read_list(row["reward_terms"], name.c_str(), group,
                [&](Rollout& r, const json& v) { r.terms[name] = read_number(v); });
  }
  for (const Rollout& rollout : group.rollouts) {
    if (rollout.ids.empty()) core::fail(core::ExitCode::kBadInput, "an answer has no token");
  }
  return group;
}

}  // namespace

std::string to_jsonl(const Generation& generation) {
  std::string text;
  for (const RolloutGroup& group : generation)
    text += to_row(group).dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
  return text;
}

Generation generation_from_jsonl(const std::string& text, const std::string& name) {
  Generation generation;
  std::istringstream lines(text);
  std::string line;
  for (int64_t number = 1; std::getline(lines, line); ++number) {
    if (line.empty()) continue;
    try {
      const json row = json::parse(line);
      if (number > 1 || !row.is_object() || !row.contains(kKey)) generation.push_back(read_row(row));
    } catch (const core::Error& error) {
      core::fail(core::ExitCode::kBadInput, "{}: line {}: {}", name, number, error.what());
    } catch (const json::exception& error) {
      core::fail(core::ExitCode::kBadInput, "{}: line {}: {}", name, number, core::printable(error.what()));
    }
  }
  return generation;
}

RolloutLedger::RolloutLedger(std::filesystem::path folder) : folder_(std::move(folder)) {}

std::filesystem::path RolloutLedger::file(int64_t number) const {
  return folder_ / fmt::format("generation_{:06}.jsonl", number);
}

std::optional<Generation> RolloutLedger::find(int64_t number, const std::string& key) const {
  std::ifstream in(file(number), std::ios::binary);
  std::string first;
  if (!in || !std::getline(in, first) || first != key) return std::nullopt;
  std::ostringstream rest;
  rest << in.rdbuf();
  return generation_from_jsonl(rest.str(), file(number).string());
}

void RolloutLedger::write(int64_t number, const std::string& key, const Generation& generation) const {
  core::make_directories(folder_.string());
  core::write_file_atomic(file(number).string(), key + "\n" + to_jsonl(generation));
}

}  // namespace phalanx::trainer
