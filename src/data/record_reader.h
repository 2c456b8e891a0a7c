#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "data/jinja_value.h"

namespace phalanx::data {

inline constexpr uint64_t kMaxRecordBytes = uint64_t{64} << 20;

/// One record of a file as it stands there, not yet parsed.
struct RawRecord {
  std::string text;
  int64_t line = 0;     ///< of its first byte, from 1
  uint64_t byte = 0;    ///< of its first byte in the (unpacked) text
  std::string problem;  ///< why it cannot be a record (too long, cut short), empty if it can
};

/// A file of records, one after the other, in bounded memory.
class RecordReader {
 public:
  virtual ~RecordReader() = default;
  /// What the file is, for messages and reports: "JSON lines", "CSV", ...
  virtual std::string_view container() const = 0;
  /// @throws core::Error (65) for a file that cannot be read to its end.
  virtual bool next(RawRecord& record) = 0;
  /// The fields of a record without a problem. Safe to call from several threads.
  /// @throws core::Error (65): what is wrong with it, without its place.
  virtual jinja::Value parse(const RawRecord& record) const = 0;
};

/// How a file of plain text becomes documents.
struct TextFileOptions {
  std::string documents = "file";  ///< file | paragraph (between blank lines) | line
};

/// A reader by the file's name, each also with .gz or .zst behind it: .jsonl .ndjson (one JSON value a line),
/// .json (an array of objects, or as .jsonl), .csv and .tsv (RFC 4180, the first record names the fields),
/// .txt (documents, as records {"text"}), "task:NAME" (made-up questions, task_records.h); .parquet and
/// .arrow (columnar_records.h), which are packed inside.
/// @throws core::Error (65) for a name of no known kind, or a file that cannot be opened.
std::unique_ptr<RecordReader> open_records(const std::string& path, const TextFileOptions& text = {});

/// Does the name say that it is a file of records?
bool is_record_file(const std::string& path);
/// The kinds of files that open_records takes, for messages.
const std::string& known_record_files();

}  // namespace phalanx::data
