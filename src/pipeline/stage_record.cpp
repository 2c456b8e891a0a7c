#include "pipeline/stage_record.h"

#include <filesystem>

#include "core/error.h"
#include "core/files.h"
#include "core/hash.h"
#include "core/json.h"

namespace phalanx::pipeline {
namespace {

using core::Json;

constexpr uint64_t kMaxBytes = uint64_t{256} << 20;
constexpr std::string_view kFormat = "phalanx-stage-1";

Json to_json(const FileStamps& stamps) {
  Json json = Json::object();
  for (const auto& [path, stamp] : stamps) {
    json[path] = {{"size", stamp.size},
                  {"inode", stamp.inode},
                  {"modified_ns", stamp.modified_ns},
                  {"changed_ns", stamp.changed_ns},
                  {"hash", stamp.hash}};
  }
  return json;
}

FileStamps stamps_of(const Json& json) {
  FileStamps stamps;
  for (const auto& [path, stamp] : json.items()) {
    stamps[path] = {.size = stamp.at("size").get<uint64_t>(),
                    .inode = stamp.at("inode").get<uint64_t>(),
                    .modified_ns = stamp.at("modified_ns").get<int64_t>(),
                    .changed_ns = stamp.at("changed_ns").get<int64_t>(),
                    .hash = stamp.at("hash").get<std::string>()};
  }
  return stamps;
}

Json to_json(const StageRecord& record) {
  return {{"is_done", record.is_done},          {"hash", record.hash()},
          {"program", record.program},          {"values", record.values},
          {"inputs", to_json(record.inputs)},   {"uses", record.uses},
          {"outputs", to_json(record.outputs)}, {"seconds", record.seconds}};
}

StageRecord record_of(const Json& json) {
  using Texts = std::map<std::string, std::string>;
  return {.is_done = json.at("is_done").get<bool>(),
          .program = json.at("program").get<std::string>(),
          .values = json.at("values").get<Texts>(),
          .inputs = stamps_of(json.at("inputs")),
          .uses = json.at("uses").get<Texts>(),
          .outputs = stamps_of(json.at("outputs")),
          .seconds = json.at("seconds").get<double>()};
}

void add(core::Hasher& hasher, const FileStamps& stamps) {
  for (const auto& [path, stamp] : stamps) {
    hasher.add_field(path);
    hasher.add_field(stamp.hash);
  }
  hasher.add_field(static_cast<int64_t>(stamps.size()));
}

void add(core::Hasher& hasher, const std::map<std::string, std::string>& texts) {
  for (const auto& [key, value] : texts) {
    hasher.add_field(key);
    hasher.add_field(value);
  }
  hasher.add_field(static_cast<int64_t>(texts.size()));
}

}  // namespace

std::string StageRecord::hash() const {
  core::Hasher hasher;
  hasher.add_field(program);
  add(hasher, values);
  add(hasher, inputs);
  add(hasher, uses);
  return hasher.digest_128().hex();
}

std::string StageRecord::result_hash() const {
  core::Hasher hasher;
  add(hasher, outputs);
  return hasher.digest_128().hex();
}

std::string record_path(const std::string& folder) {
  return folder + "/stage.json";
}

std::optional<FoundRecord> read_record(const std::string& folder) {
  const std::string path = record_path(folder);
  if (!std::filesystem::exists(path)) return std::nullopt;
  try {
    const Json json = core::read_json(path, kMaxBytes);
    const bool is_ours = json.is_object() && json.value("format", "") == kFormat && json.contains("record");
    if (!is_ours) return FoundRecord{std::nullopt, "is no record of a stage"};
    const Json& record = json["record"];
    if (json.value("digest", "") != core::xxh3_128(core::to_text(record)).hex())
      return FoundRecord{std::nullopt, "was changed after it was written"};
    return FoundRecord{record_of(record), ""};
  } catch (const core::Error&) {
    return FoundRecord{std::nullopt, "cannot be read"};
  } catch (const nlohmann::json::exception&) {
    return FoundRecord{std::nullopt, "is not whole"};
  }
}

void write_record(const std::string& folder, const StageRecord& record) {
  const Json json = to_json(record);
  const Json file = {
      {"format", kFormat}, {"digest", core::xxh3_128(core::to_text(json)).hex()}, {"record", json}};
  core::write_file_atomic(record_path(folder), core::to_text(file, 1) + "\n");
}

}  // namespace phalanx::pipeline
