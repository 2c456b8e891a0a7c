#pragma once
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace phalanx::data {

/// A line that could not be used.
struct BadRecord {
  std::string file;
  int64_t line = 0;   ///< from 1
  uint64_t byte = 0;  ///< of its first byte in the (unpacked) file
  std::string reason;
};

nlohmann::ordered_json to_json(const std::vector<BadRecord>& records);
std::vector<BadRecord> bad_records_from_json(const nlohmann::ordered_json& json);

/// Brings quarantine.jsonl up to date: a line {"file", "line", "byte", "reason"} for each of `records`, in
/// place of what it said about `files`. Lines about other files stay if these are in `keep` (the other data
/// of the same run). The file is written only when that changes it, and removed when nothing is left. @throws
/// core::Error (74).
void update_quarantine(const std::string& path, const std::vector<BadRecord>& records,
                       const std::vector<std::string>& files, const std::vector<std::string>& keep);

}  // namespace phalanx::data
