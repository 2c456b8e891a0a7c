#pragma once
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "reward/reward.h"

namespace phalanx::reward {

/// 1 if the completion is the ground truth, else 0: white space at the ends and one full stop behind do not
/// matter.
std::unique_ptr<Reward> exact_match(const TermOptions& options);
/// 1 if the last number of the completion (1,234.5, -3, 7/2, 50%) equals that of the ground truth within 1e-6
/// relative, else 0.
std::unique_ptr<Reward> numeric_match(const TermOptions& options);

/// The last number in a text.
std::optional<double> last_number(std::string_view text);

}  // namespace phalanx::reward
