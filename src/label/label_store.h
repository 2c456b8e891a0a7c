#pragma once
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "label/journal.h"
#include "label/preference_file.h"

namespace phalanx::label {

/// The answers, in memory and on disk: OUT.journal (all of them) and OUT (the preferences that stand). May be
/// used from several threads.
class LabelStore {
 public:
  /// @throws core::Error: 65, 74, 77 (see Journal, PreferenceFile).
  explicit LabelStore(const std::string& out);

  /// Returns when both files hold the answer. @throws core::Error (74); then neither does.
  void record(const Answer& answer);

  StandingAnswers standing() const;
  bool has(const std::string& labeller, const std::string& pair) const;
  /// The pair that the labeller answered last; "" if there is none.
  std::string last_pair_of(const std::string& labeller) const;

  /// What was repaired at the start, a line each.
  const std::vector<std::string>& notices() const { return notices_; }

 private:
  mutable std::mutex mutex_;
  StandingAnswers standing_;
  Journal journal_;
  PreferenceFile preferences_;
  std::vector<std::string> notices_;
};

}  // namespace phalanx::label
