#include "data/text_documents.h"

#include <simdjson.h>

#include <algorithm>

#include "core/error.h"

namespace phalanx::data {
namespace {

constexpr std::string_view kTextBlank = " \t\r\n\f\v";

bool is_blank_line(std::string_view line) {
  return line.find_first_not_of(kTextBlank) == std::string_view::npos;
}

}  // namespace

TextDocuments::TextDocuments(const std::string& path, const TextFileOptions& options)
    : stream_(path), documents_(options.documents) {}

bool TextDocuments::next(RawRecord& document) {
  document = {};
  bool too_long = false;
  for (std::string line;;) {
    const uint64_t byte = stream_.byte();
    const int64_t number = line_;
    bool line_too_long = false;
    if (!next_line(line, line_too_long)) break;
    const bool is_blank = is_blank_line(line) && !line_too_long;
    if (document.line == 0) {
      if (is_blank) continue;
      document.line = number;
      document.byte = byte;
    } else if (is_blank && documents_ == "paragraph") {
      break;
    }
    if (!too_long) document.text += line;
    too_long = too_long || line_too_long || document.text.size() > kMaxRecordBytes;
    if (too_long) document.text.clear();  // forget the text, keep looking for its end
    if (documents_ == "line") break;
  }
  if (document.line == 0) return false;
  if (too_long)
    document.problem = "the document is longer than 64 MiB; split the file, or set documents: paragraph";
  document.text.erase(document.text.find_last_not_of(kTextBlank) + 1);
  return true;
}

/// The next line with its end; `too_long` is set, and the text empty, for one of more than 64 MiB.
bool TextDocuments::next_line(std::string& line, bool& too_long) {
  size_t searched = 0;
  bool found_any = false;
  for (;;) {
    const std::string_view window = stream_.window();
    const size_t end = window.find('\n', searched);
    if (end != std::string_view::npos || stream_.at_end()) {
      const size_t size = std::min(window.size(), end == std::string_view::npos ? end : end + 1);
      if (size == 0 && !found_any) return false;
      line.assign(window.substr(0, size));
      stream_.consume(size);
      line_ += end != std::string_view::npos;
      return true;
    }
    searched = window.size();
    if (searched > kMaxRecordBytes) {
      too_long = found_any = true;
      stream_.consume(searched);
      searched = 0;
    }
    stream_.fill();
  }
}

jinja::Value TextDocuments::parse(const RawRecord& document) const {
  if (!simdjson::validate_utf8(document.text.data(), document.text.size()))
    core::fail(core::ExitCode::kBadInput, "the document is not valid UTF-8");
  jinja::Dict record;
  record.set("text", document.text);
  return jinja::Value(std::move(record));
}

}  // namespace phalanx::data
