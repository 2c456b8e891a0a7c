#pragma once
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "reward/reward.h"

namespace phalanx::reward {

/// Where variables that a config names are looked up; launch/ sets it before a run. Without it none is set.
using Environment = std::function<std::optional<std::string>(const char* name)>;
void set_environment(Environment environment);

/// How long a judge is waited for between tries.
struct JudgePatience {
  double first_wait_s = 1;  ///< before the second try; doubles from try to try
  double max_wait_s = 60;   ///< of one wait, also where Retry-After says more
  double rest_s = 30;       ///< how long an endpoint that failed three times in a row is left alone
};

/// What another model says, asked through an OpenAI-compatible endpoint (POST {"model", "messages",
/// "temperature": 0}; `urls`: http://HOST:PORT/v1/chat/completions, several share the work). It is sent
/// `prompt` with {prompt}, {completion} and {ground_truth} of the sample in their places, once for each
/// sample, `num_parallel` at a time. The score is the first group of the last match of `pattern` in its
/// answer, a number in `range`.
///
/// No connection, no answer within timeout_s, 408, 429 and 5xx are tried again, num_attempts times in all,
/// with growing pauses (or as long as Retry-After says, in seconds). Every try of a sample carries one
/// Idempotency-Key. What cannot be read leaves the sample without a score, with one warning per call.
/// The key is read from the variable `api_key_env`; it goes into the Authorization header and nowhere else.
/// @throws core::Error (78): no URL, model or {completion}, a variable that is not set.
std::unique_ptr<Reward> judge(const TermOptions& options);
std::unique_ptr<Reward> judge_with(const TermOptions& options, const JudgePatience& patience);

}  // namespace phalanx::reward
