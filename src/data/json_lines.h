#pragma once
#include <cstdint>
#include <memory>
#include <string>

namespace phalanx::data {

/// One line of a JSONL file, without its line end.
struct JsonLine {
  std::string text;
  int64_t number = 0;   ///< from 1
  uint64_t byte = 0;    ///< of its first byte in the (unpacked) text
  std::string problem;  ///< why it cannot be a record (too long, cut short), empty if it can
};

/// Reads .jsonl, .jsonl.gz (any number of members) and .jsonl.zst line by line, in bounded memory. Blank
/// lines are skipped; CRLF and a BOM at the start of the file are accepted. @throws core::Error (65) for a
/// file that cannot be read or unpacked to its end, or that unpacks to more than 200 times its size and 64
/// MiB.
class JsonLines {
 public:
  static constexpr uint64_t kMaxLineBytes = uint64_t{64} << 20;

  explicit JsonLines(const std::string& path);
  ~JsonLines();
  bool next(JsonLine& line);

 private:
  class Source;
  class PlainSource;
  class GzipSource;
  class ZstdSource;
  static std::unique_ptr<Source> open(const std::string& path);

  bool fill();  // more text into buffer_; false at the end
  std::unique_ptr<Source> source_;
  std::string buffer_;
  size_t position_ = 0;
  uint64_t bytes_before_buffer_ = 0;
  int64_t number_ = 0;
  bool at_end_ = false;
};

}  // namespace phalanx::data
