#pragma once
#include <cstdint>
#include <memory>
#include <string_view>

#include "reward/reward.h"

/// Terms for the form and the length of an answer; they need no ground truth.
namespace phalanx::reward {

/// 1 if `pattern` matches the whole completion, else 0; nothing if the match takes too many steps.
std::unique_ptr<Reward> format_match(const TermOptions& options);

/// With n tokens of the completion, m = min_tokens, M = max_tokens:
///
///     0                          m <= n <= M
///     -(m - n) / m               n < m
///     max(-1, -(n - M) / M)      n > M
///
/// m = M = T is the distance from a target, |n - T| / T. @throws core::Error (78) unless m <= M and one is
/// set.
std::unique_ptr<Reward> length(const TermOptions& options);

/// The soft overlong punishment of DAPO (Yu et al. 2025, arXiv:2503.14476, eq. 13). With n tokens, L =
/// max_tokens (else what the sample was allowed) and C = cache_tokens:
///
///     0                          n <= L - C
///     ((L - C) - n) / C          L - C < n <= L
///     -1                         n > L
///
/// @throws core::Error (78) without cache_tokens, or if it is more than max_tokens.
std::unique_ptr<Reward> overlong(const TermOptions& options);

/// -(1 - distinct / all) over the n-grams of words (split at white space, ASCII in lower case) with n =
/// ngram_size: 0 where none comes twice, and towards -1 where all are one. 0 for fewer than n words.
std::unique_ptr<Reward> repetition(const TermOptions& options);

}  // namespace phalanx::reward
