#pragma once
#include <memory>
#include <string>

#include "label/durable_lines.h"
#include "label/verdict.h"

namespace phalanx::label {

/// The preference data that the standing choices amount to, {"prompt", "chosen", "rejected", ...} a line, in
/// the order in which they were given: what `method: reward` or `dpo` trains on. After every change it is
/// whole and durable. A choice that is new is added at the end; where one goes, the file is replaced.
class PreferenceFile {
 public:
  /// Brings the file in line with `standing`; one that does not merely lack its end is kept as PATH.bak.
  /// @param has_journal  false: a file with content is not ours. @throws core::Error (65, 74).
  PreferenceFile(std::string path, const StandingAnswers& standing, bool has_journal);

  /// A choice on a pair that had none. @throws core::Error (74); the file is then as before, here and below.
  void append(const Answer& answer) { lines_->append(core::to_text(answer.row)); }
  /// The rows of all that stands.
  void replace(const StandingAnswers& standing);

  /// What was done to the file at the start; empty: nothing.
  const std::string& notice() const { return notice_; }

 private:
  void write(const std::string& content);
  std::string path_, notice_;
  std::unique_ptr<DurableLines> lines_;
};

}  // namespace phalanx::label
