#pragma once
#include <string>
#include <vector>

#include "data/record_reader.h"
#include "data/text_stream.h"

namespace phalanx::data {

/// Comma-separated values (RFC 4180): the first record names the fields of the others; fields in quotes may
/// hold the separator, line ends and doubled quotes. Lines end with CRLF or LF; blank ones are skipped. Every
/// field is text. The same with tabs for .tsv.
class CsvRecords : public RecordReader {
 public:
  /// @throws core::Error (65) for a header that is missing, broken, or names a field twice.
  CsvRecords(const std::string& path, char separator);
  std::string_view container() const override { return separator_ == ',' ? "CSV" : "TSV"; }
  bool next(RawRecord& row) override;
  jinja::Value parse(const RawRecord& row) const override;

 private:
  std::vector<std::string> split(std::string_view row) const;

  TextStream stream_;
  char separator_;
  int64_t line_ = 1;
  std::vector<std::string> header_;
};

}  // namespace phalanx::data
