#include "label/label_store.h"

#include <fmt/format.h>

#include "core/error.h"

namespace phalanx::label {

LabelStore::LabelStore(const std::string& out)
    : journal_(journal_path(out), standing_), preferences_(out, standing_, !journal_.was_empty()) {
  if (journal_.bytes_cut_at_start() > 0) {
    notices_.push_back(
        fmt::format("{}: an unfinished last line of {} bytes was cut off; that answer was never confirmed",
                    journal_path(out), journal_.bytes_cut_at_start()));
  }
  if (!preferences_.notice().empty()) notices_.push_back(preferences_.notice());
}

void LabelStore::record(const Answer& answer) {
  const std::lock_guard lock(mutex_);
  const Answer* before = standing_.find(answer.labeller, answer.pair);
  const bool replaces_row = before != nullptr && is_choice(before->verdict);
  journal_.append(answer);
  try {
    if (replaces_row) {
      StandingAnswers next = standing_;
      next.add(answer);
      preferences_.replace(next);
    } else if (is_choice(answer.verdict)) {
      preferences_.append(answer);
    }
  } catch (const core::Error&) {
    journal_.take_back();
    throw;
  }
  standing_.add(answer);
}

StandingAnswers LabelStore::standing() const {
  const std::lock_guard lock(mutex_);
  return standing_;
}

bool LabelStore::has(const std::string& labeller, const std::string& pair) const {
  const std::lock_guard lock(mutex_);
  return standing_.find(labeller, pair) != nullptr;
}

std::string LabelStore::last_pair_of(const std::string& labeller) const {
  const std::lock_guard lock(mutex_);
  const Answer* last = standing_.last_of(labeller);
  return last == nullptr ? "" : last->pair;
}

}  // namespace phalanx::label
