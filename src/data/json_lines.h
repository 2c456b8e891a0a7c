#pragma once
#include <cstdint>
#include <string>

#include "data/record_reader.h"
#include "data/text_stream.h"

namespace phalanx::data {

/// A JSON value to a line. Blank lines are skipped; CRLF and a BOM at the start of the file are accepted. A
/// line of more than 64 MiB is reported and the next one is found.
class JsonLines : public RecordReader {
 public:
  static constexpr uint64_t kMaxLineBytes = kMaxRecordBytes;

  explicit JsonLines(const std::string& path) : stream_(path) {}
  std::string_view container() const override { return "JSON lines"; }
  bool next(RawRecord& line) override;
  jinja::Value parse(const RawRecord& line) const override;

 private:
  TextStream stream_;
  int64_t number_ = 0;
};

}  // namespace phalanx::data
