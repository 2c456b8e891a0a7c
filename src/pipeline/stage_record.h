#pragma once
#include <map>
#include <optional>
#include <string>

#include "pipeline/file_stamp.h"

namespace phalanx::pipeline {

/// What a stage has run with, and what came of it: stage.json in its folder.
struct StageRecord {
  bool is_done = false;                            ///< false: it has begun
  std::string program = {};                        ///< version of this program
  std::map<std::string, std::string> values = {};  ///< Stage::values()
  FileStamps inputs = {};                          ///< what it reads and no stage makes
  std::map<std::string, std::string> uses = {};    ///< stage -> result_hash() of it
  FileStamps outputs = {};                         ///< its result, by path inside its folder
  double seconds = 0;                              ///< of the process that ended the work

  std::string hash() const;         ///< of all that it depends on: program, values, inputs, uses
  std::string result_hash() const;  ///< of the names and contents of the outputs
};

/// A record that is there, and either whole or worth nothing.
struct FoundRecord {
  std::optional<StageRecord> record;
  std::string damage;  ///< why there is none, though the file is there
};

/// Nothing if there is no stage.json. One that is not to the letter what write_record() wrote is not
/// believed.
std::optional<FoundRecord> read_record(const std::string& folder);
/// Durable when it returns; a crash leaves the old one or the new one. @throws core::Error (74).
void write_record(const std::string& folder, const StageRecord& record);
std::string record_path(const std::string& folder);

}  // namespace phalanx::pipeline
