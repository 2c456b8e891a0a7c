#pragma once
#include <chrono>
#include <functional>

#include "comm/communicator.h"
#include "trainer/postponed.h"

namespace phalanx::trainer {

/// The pauses between tries of a step that is postponed: 1 s, each twice as long as the one before, 60 s at
/// most. Time is rank 0's. Collective over `group`.
class Outage {
 public:
  /// @param stop_requested  asked on every rank while it waits.
  Outage(comm::Communicator& group, std::function<bool()> stop_requested)
      : group_(group), stop_requested_(std::move(stop_requested)) {}

  /// Waits. Whether to try again: not after a stop request, nor once patience has ended.
  bool wait(const Postponed& postponed);

 private:
  using Clock = std::chrono::steady_clock;
  comm::Communicator& group_;
  std::function<bool()> stop_requested_;
  Clock::time_point start_ = Clock::now();
  double pause_s_ = 1;
};

}  // namespace phalanx::trainer
