#pragma once
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "reward/reward.h"

namespace phalanx::reward {

/// Verifiers compare an answer with the record's ground truth. The answer is the whole completion or, with
/// `pattern`, the first group of its last match; no match is a wrong answer. Nothing where the record has no
/// ground truth that can be used, or a match takes too many steps.

/// 1 if the answer is the ground truth, else 0: white space at the ends and one full stop behind do not
/// matter.
std::unique_ptr<Reward> exact_match(const TermOptions& options);
/// 1 if the last number of the answer (1,234.5, -3, 7/2, 50%) equals that of the ground truth within 1e-6
/// relative, else 0.
std::unique_ptr<Reward> numeric_match(const TermOptions& options);
/// 1 if the last line of the answer, up to an equals sign, is an arithmetic expression (parse_expression)
/// that is worth exactly the target and uses each of the record's numbers at most once, else 0.
std::unique_ptr<Reward> countdown(const TermOptions& options);

/// The ground truth as text, if it is text or a number.
std::optional<std::string> ground_truth_text(const data::Record& record);
/// The last number in a text.
std::optional<double> last_number(std::string_view text);

}  // namespace phalanx::reward
