#pragma once
#include <string>

#include "label/durable_lines.h"
#include "label/verdict.h"

namespace phalanx::label {

inline constexpr std::string_view kJournalHeader = R"({"format":"phalanx-label-journal","version":1})";

/// Where the answers that became PREFERENCES are recorded.
std::string journal_path(const std::string& preferences);

/// Every answer ever given, one JSON line each behind a header: edits and undos are further lines, and the
/// last word on a pair counts. Held by one process at a time.
class Journal {
 public:
  /// @throws core::Error: 65 naming a line that is no answer, 74, 77 (see DurableLines).
  Journal(const std::string& path, StandingAnswers& standing);
  void append(const Answer& answer) { lines_.append(core::to_text(to_json(answer))); }
  void take_back() { lines_.take_back(); }
  bool was_empty() const { return was_empty_; }
  uint64_t bytes_cut_at_start() const { return lines_.bytes_cut_at_start(); }

 private:
  DurableLines lines_;
  bool was_empty_ = false;
};

/// The standing answers of a journal that another process may be writing: an unfinished last line is not
/// read.
/// @throws core::Error (65).
StandingAnswers read_journal(const std::string& path);

}  // namespace phalanx::label
