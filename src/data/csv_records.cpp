#include "data/csv_records.h"

#include <simdjson.h>

#include <algorithm>

#include "core/error.h"

namespace phalanx::data {
namespace {

template <typename... Args>
[[noreturn]] void bad_row(fmt::format_string<Args...> format, Args&&... args) {
  core::fail(core::ExitCode::kBadInput, format, std::forward<Args>(args)...);
}

/// Where in a row one is. Quotes mean something at the beginning of a field only, so that a stray one spoils
/// its own row and not those behind it.
class RowScanner {
 public:
  explicit RowScanner(char separator) : separator_(separator) {}

  /// Is `c` the line end behind the row? Else it is part of it.
  bool ends_at(char c) {
    if (state_ == State::kQuoted) {
      if (c == '"') state_ = State::kQuoteInQuoted;
      return false;
    }
    if (c == '\n') return true;
    if (c == separator_)
      state_ = State::kFieldStart;
    else if (c == '"' && state_ != State::kPlain)  // opens a field, or is the second of two inside of one
      state_ = State::kQuoted;
    else
      state_ = State::kPlain;
    return false;
  }

 private:
  enum class State { kFieldStart, kPlain, kQuoted, kQuoteInQuoted };
  State state_ = State::kFieldStart;
  char separator_;
};

bool is_blank_row(std::string_view row) {
  return row.empty() || row == "\r";
}

/// A field in quotes, whose opening quote is row[at]; `at` then stands behind its closing quote.
std::string quoted_field(std::string_view row, size_t& at) {
  std::string field;
  for (++at;; ++at) {
    const size_t quote = row.find('"', at);
    if (quote == std::string_view::npos) bad_row("a quote is not closed");
    field += row.substr(at, quote - at);
    at = quote + 1;
    if (at >= row.size() || row[at] != '"') return field;
    field += '"';
  }
}

}  // namespace

CsvRecords::CsvRecords(const std::string& path, char separator) : stream_(path), separator_(separator) {
  RawRecord first;
  if (!next(first)) bad_row("{}: the file is empty; its first line must name the fields", path);
  try {
    if (!first.problem.empty()) bad_row("{}", first.problem);
    header_ = split(first.text);
    for (size_t i = 0; i < header_.size(); ++i) {
      if (std::find(header_.begin(), header_.begin() + static_cast<std::ptrdiff_t>(i), header_[i]) !=
          header_.begin() + static_cast<std::ptrdiff_t>(i))
        bad_row("the field \"{}\" is named twice", core::printable(header_[i], 60));
    }
  } catch (const core::Error& error) {
    bad_row("{}: line {}: the header is not usable: {}", path, first.line, error.what());
  }
}

/// The end of a row is the first line end outside of quotes.
bool CsvRecords::next(RawRecord& row) {
  for (;;) {
    row = {};
    row.byte = stream_.byte();
    row.line = line_;
    size_t scanned = 0;
    bool too_long = false;
    RowScanner scanner(separator_);
    for (;;) {
      const std::string_view window = stream_.window();
      while (scanned < window.size() && !scanner.ends_at(window[scanned])) line_ += window[scanned++] == '\n';
      if (scanned < window.size() || stream_.at_end()) break;
      if (scanned > kMaxRecordBytes) {  // forget the text, keep looking for its end
        too_long = true;
        stream_.consume(scanned);
        scanned = 0;
      }
      stream_.fill();
    }
    const std::string_view window = stream_.window();
    const bool has_line_end = scanned < window.size();
    if (!has_line_end && scanned == 0 && !too_long) return false;
    row.text.assign(window.substr(0, scanned));
    stream_.consume(scanned + (has_line_end ? 1 : 0));
    line_ += has_line_end;
    if (too_long || row.text.size() > kMaxRecordBytes) {
      row.text.clear();
      row.problem = "the record is longer than 64 MiB; is a quote not closed?";
      return true;
    }
    if (!is_blank_row(row.text)) return true;
  }
}

jinja::Value CsvRecords::parse(const RawRecord& row) const {
  const std::vector<std::string> fields = split(row.text);
  if (fields.size() != header_.size()) {
    bad_row("the row has {} fields but the header names {}; fields with separators or line ends need quotes",
            fields.size(), header_.size());
  }
  jinja::Dict record;
  for (size_t i = 0; i < fields.size(); ++i) record.set(header_[i], fields[i]);
  return jinja::Value(std::move(record));
}

std::vector<std::string> CsvRecords::split(std::string_view row) const {
  if (!simdjson::validate_utf8(row.data(), row.size())) bad_row("the row is not valid UTF-8");
  if (row.ends_with('\r')) row.remove_suffix(1);
  std::vector<std::string> fields;
  for (size_t at = 0;; ++at) {
    if (at < row.size() && row[at] == '"') {
      fields.push_back(quoted_field(row, at));
      if (at < row.size() && row[at] != separator_)
        bad_row("field {} goes on behind its closing quote; quotes inside of it must be doubled",
                fields.size());
    } else {
      const size_t end = std::min(row.find(separator_, at), row.size());
      fields.emplace_back(row.substr(at, end - at));
      if (fields.back().find('"') != std::string::npos)
        bad_row(
            "field {} has a quote but does not begin with one; put it in quotes and double the quotes inside",
            fields.size());
      at = end;
    }
    if (at >= row.size()) return fields;
  }
}

}  // namespace phalanx::data
