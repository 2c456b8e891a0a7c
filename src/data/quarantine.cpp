#include "data/quarantine.h"

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "core/files.h"

namespace phalanx::data {
namespace {

using nlohmann::ordered_json;

bool has(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

std::string text_of(const ordered_json& json) {
  return json.dump(-1, ' ', false, ordered_json::error_handler_t::replace);
}

std::vector<std::string> read_lines(const std::string& path) {
  std::vector<std::string> lines;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) lines.push_back(line);
  return lines;
}

/// The file that an existing line of quarantine.jsonl is about; empty if it is not a line of ours.
std::string file_of(const std::string& line) {
  const ordered_json json = ordered_json::parse(line, nullptr, false);
  if (!json.is_object() || !json.contains("file") || !json["file"].is_string()) return {};
  return json["file"].get<std::string>();
}

}  // namespace

ordered_json to_json(const std::vector<BadRecord>& records) {
  ordered_json list = ordered_json::array();
  for (const BadRecord& record : records) {
    list.push_back(
        {{"file", record.file}, {"line", record.line}, {"byte", record.byte}, {"reason", record.reason}});
  }
  return list;
}

std::vector<BadRecord> bad_records_from_json(const ordered_json& json) {
  std::vector<BadRecord> records;
  for (const ordered_json& item : json) {
    records.push_back({item.at("file").get<std::string>(), item.at("line").get<int64_t>(),
                       item.at("byte").get<uint64_t>(), item.at("reason").get<std::string>()});
  }
  return records;
}

void update_quarantine(const std::string& path, const std::vector<BadRecord>& records,
                       const std::vector<std::string>& files, const std::vector<std::string>& keep) {
  if (path.empty()) return;
  const std::vector<std::string> old = read_lines(path);
  std::vector<std::string> lines;
  for (const std::string& line : old) {
    const std::string file = file_of(line);
    if (!has(files, file) && has(keep, file)) lines.push_back(line);
  }
  for (const ordered_json& record : to_json(records)) lines.push_back(text_of(record));
  if (lines == old) return;
  if (lines.empty()) {
    std::filesystem::remove(path);
    return;
  }
  std::string text;
  for (const std::string& line : lines) text += line + "\n";
  const std::string folder = std::filesystem::path(path).parent_path().string();
  if (!folder.empty()) core::make_directories(folder);
  core::write_file_atomic(path, text);
}

}  // namespace phalanx::data
