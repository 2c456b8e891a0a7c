#pragma once
#include <optional>
#include <string>
#include <vector>

namespace phalanx::trainer {

/// Rewards of a generation, `group_size` neighbours to one prompt; nothing where an answer could not be
/// judged: it is left out of every mean, and its own advantage is 0.
using Rewards = std::vector<std::optional<double>>;

/// GRPO (Shao et al. 2024, arXiv:2402.03300): A = (r - mean of the group) / (std + 1e-4), std unbiased, of
/// the group or of the batch; "none": not divided (Dr. GRPO; Liu et al. 2025, arXiv:2503.20783).
/// @param scale  group | batch | none
std::vector<double> group_advantages(const Rewards& rewards, size_t group_size, const std::string& scale);

/// RLOO (Ahmadian et al. 2024, arXiv:2402.14740): A = r - mean of the others of the group.
/// @param normalize  then (A - mean) / (std + 1e-4) over the batch.
std::vector<double> leave_one_out_advantages(const Rewards& rewards, size_t group_size, bool normalize);

/// (x - mean) / (std + 1e-8) over all numbers, std unbiased: REINFORCE++ (Hu 2025, arXiv:2501.03262)
/// normalises the advantages of all tokens of a batch; PPO implementations call it whitening.
void whiten(std::vector<double>& values);

/// Of the numbers that there are; NaN for fewer than one (mean) or two (std, unbiased).
double mean_of(const Rewards& values);
double std_of(const Rewards& values);

/// Whether there are two that differ.
bool has_spread(const Rewards& rewards);

/// Shares of groups whose rewards are all the same (TRL's frac_reward_zero_std): they teach nothing.
double share_without_spread(const Rewards& rewards, size_t group_size);

}  // namespace phalanx::trainer
