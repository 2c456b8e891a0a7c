#pragma once
#include <cstdint>
#include <optional>
#include <string>

#include "core/error.h"
#include "label/answer_pair.h"
#include "label/question_order.h"

namespace phalanx::launch {

/// What `phalanx label` is asked to do.
struct LabelJob {
  std::string data, out;
  std::string host = "127.0.0.1";
  uint16_t port = 8765;
  bool wants_token = false;
  std::optional<int64_t> goal;  ///< ends when so many preferences stand
  std::string reward_model;     ///< scores the pairs, so that `order` can be uncertain
  label::OrderOptions order;
  label::PairOptions pairs;
};

/// Serves the page until the goal is reached or somebody says that it is enough.
/// @return kDone; kStopped for a signal: every answer is saved and the same call goes on. @throws
/// core::Error.
core::ExitCode label_answers(const LabelJob& job);

}  // namespace phalanx::launch
