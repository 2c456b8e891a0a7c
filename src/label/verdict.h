#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>

#include "core/json.h"

namespace phalanx::label {

/// What a labeller said about a pair. `first` and `second` are places in the data, not on the screen.
enum class Verdict { kFirst, kSecond, kTie, kBothBad, kSkip, kUndo };

std::string_view name(Verdict verdict);
/// @throws core::Error (65) for no such name.
Verdict parse_verdict(std::string_view name);
inline bool is_choice(Verdict verdict) {
  return verdict == Verdict::kFirst || verdict == Verdict::kSecond;
}

/// One line of the journal.
struct Answer {
  std::string labeller, pair;
  Verdict verdict = Verdict::kSkip;
  bool first_left = true;  ///< how it was shown
  double seconds = 0;      ///< that the labeller took
  std::string time;        ///< UTC, ISO 8601
  core::Json row;          ///< the row of preference data for a choice, else null
};

core::Json to_json(const Answer& answer);
/// @throws core::Error (65): what is wrong with it.
Answer answer_from_json(const core::Json& json);

/// The answers that count: of each labeller and pair the last, unless it was undone. In the order in which
/// they were given.
class StandingAnswers {
 public:
  void add(const Answer& answer);
  const std::map<uint64_t, Answer>& by_time() const { return answers_; }
  const Answer* find(const std::string& labeller, const std::string& pair) const;
  const Answer* last_of(const std::string& labeller) const;  ///< null: none

 private:
  uint64_t next_ = 0;
  std::map<uint64_t, Answer> answers_;
  std::map<std::pair<std::string, std::string>, uint64_t> places_;
};

}  // namespace phalanx::label
