#pragma once
#include <atomic>
#include <cstdint>

#include "comm/mpi_group.h"

namespace phalanx::comm {

/// A barrier in shared memory. A rank that waits spins for some microseconds (less than a sleep costs), then
/// sleeps in the kernel (futex) until the rank that it waits for wakes it, so that a compute thread has the
/// core to itself.
class SharedMeeting {
 public:
  /// One rank's words, on a cache line of their own; zero at the start.
  struct alignas(128) Words {
    std::atomic<uint32_t> arrivals;  // meetings that this rank has come to; wraps
    std::atomic<uint32_t> sleepers;  // ranks that sleep until it comes
  };

  SharedMeeting(const MpiGroup& group, Words* words);  ///< `words`: one for each rank, in shared memory

  /// Returns when all ranks of the group have come as often as this one; what they wrote before is then
  /// visible.
  /// @throws PeerFailure, or core::Error after the group's timeout, naming the rank that did not come
  void meet(const char* what);

 private:
  void wait_for(int peer, const char* what);

  const MpiGroup& group_;
  Words* words_;
  uint32_t arrivals_ = 0;
  std::chrono::microseconds spin_;
};

}  // namespace phalanx::comm
