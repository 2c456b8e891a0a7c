#pragma once
#include <string>

#include "data/record_reader.h"
#include "data/text_stream.h"

namespace phalanx::data {

/// A file of plain text as records {"text"}: the whole file, what stands between blank lines, or each line
/// that is not blank. White space at both ends of a document is left out, but for the indent of its first
/// line.
class TextDocuments : public RecordReader {
 public:
  TextDocuments(const std::string& path, const TextFileOptions& options);
  std::string_view container() const override { return "plain text"; }
  bool next(RawRecord& document) override;
  jinja::Value parse(const RawRecord& document) const override;

 private:
  bool next_line(std::string& line, bool& too_long);

  TextStream stream_;
  std::string documents_;
  int64_t line_ = 1;
};

}  // namespace phalanx::data
