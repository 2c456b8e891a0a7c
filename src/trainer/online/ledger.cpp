#include "trainer/online/ledger.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <sstream>

#include "core/error.h"
#include "core/files.h"
#include "core/hash.h"
#include "core/log.h"

namespace phalanx::trainer {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;
constexpr const char* kKey = "rollouts_of";  // of the first line of a run's own file
constexpr uint64_t kMaxLedgerBytes = uint64_t{4} << 30;

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
  add_lists<Numbers>(
      row, "values", group, [](const Rollout& r) -> auto& { return r.values; });
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
  numbers("values", &Rollout::values);
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

std::string to_line(const RolloutGroup& group) {
  return to_row(group).dump(-1, ' ', false, json::error_handler_t::replace);
}

std::string header_line(const std::string& key, size_t num_groups) {
  return ordered_json{{kKey, key}, {"num_groups", num_groups}}.dump();
}

/// Nothing if it is not the header of this key.
std::optional<size_t> groups_of_header(std::string_view line, const std::string& key) {
  const json header = json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (!header.is_object() || header.value(kKey, json()) != key) return std::nullopt;
  const json count = header.value("num_groups", json());
  return count.is_number_unsigned() ? std::optional<size_t>(count.get<size_t>()) : std::nullopt;
}

std::string checksum_of(std::string_view line) {
  return fmt::format(R"(,"xxh3_128":"{}"}})", core::xxh3_128(line).hex());
}

std::string with_checksum(std::string line) {
  line.pop_back();  // the brace
  return line + checksum_of(line);
}

bool is_whole(std::string_view line) {
  const size_t size = checksum_of("").size();
  return line.size() > size &&
         line.substr(line.size() - size) == checksum_of(line.substr(0, line.size() - size));
}

std::vector<std::string_view> lines_of(std::string_view text) {
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    lines.push_back(text.substr(0, text.find('\n')));
    text.remove_prefix(std::min(text.size(), lines.back().size() + 1));
  }
  return lines;
}

}  // namespace

std::string to_jsonl(const Generation& generation) {
  std::string text;
  for (const RolloutGroup& group : generation) text += to_line(group) + "\n";
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

RolloutLedger::RolloutLedger(std::filesystem::path folder, std::string key)
    : folder_(std::move(folder)), key_(std::move(key)) {}

std::filesystem::path RolloutLedger::file(int64_t number) const {
  return folder_ / fmt::format("generation_{:06}.jsonl", number);
}

std::optional<Generation> RolloutLedger::find(int64_t number) const {
  const std::string name = file(number).string();
  if (!std::filesystem::exists(name)) return std::nullopt;
  const std::string text = core::read_file(name, kMaxLedgerBytes);
  const std::vector<std::string_view> lines = lines_of(text);
  const std::optional<size_t> num_groups = lines.empty() ? std::nullopt : groups_of_header(lines[0], key_);
  if (!num_groups) return std::nullopt;
  const auto first_bad =
      static_cast<size_t>(std::find_if_not(lines.begin() + 1, lines.end(), is_whole) - lines.begin());
  const bool is_torn = first_bad + 1 >= lines.size() && first_bad <= *num_groups;
  if (is_torn) {
    core::log_warning("{}: ends inside of line {}; its answers are made again", name, first_bad + 1);
    return std::nullopt;
  }
  if (first_bad != *num_groups + 1 || first_bad != lines.size()) {
    core::fail(core::ExitCode::kBadInput,
               "{}: line {} is damaged: it does not fit its checksum; put the file back, or remove it to "
               "make its answers again",
               name, std::min(first_bad, *num_groups + 1) + 1);
  }
  return generation_from_jsonl(text, name);
}

void RolloutLedger::write(int64_t number, const Generation& generation) const {
  core::make_directories(folder_.string());
  std::string text = header_line(key_, generation.size()) + "\n";
  for (const RolloutGroup& group : generation) text += with_checksum(to_line(group)) + "\n";
  core::write_file_atomic(file(number).string(), text);
}

}  // namespace phalanx::trainer
