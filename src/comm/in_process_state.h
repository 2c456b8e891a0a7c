#pragma once
#include <ATen/core/Tensor.h>

#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "comm/call.h"
#include "comm/failure.h"

namespace phalanx::comm {

/// What all groups of one set of threads share: one lock, one signal, one record of the first failure.
struct InProcessWorld {
  explicit InProcessWorld(int num_ranks) : waiting_in(num_ranks) {}

  std::mutex mutex;
  std::condition_variable changed;
  FailureRecord failure;
  std::vector<std::multiset<std::string>> waiting_in;  // by rank, under the mutex: what its threads wait in

  void fail(Failure what);
  /// Memory of a rank that left a collective early: the others may be reading it. Lives as long as the world.
  void keep(std::shared_ptr<const void> memory);
  std::string waiting();

  std::vector<std::shared_ptr<const void>> kept;  // under the mutex

  /// Sleeps until `ready`, which is tested under the lock. Returns early when a rank has failed.
  template <typename Ready>
  void wait(std::unique_lock<std::mutex>& lock, int world_rank, const char* what, Ready ready) {
    if (ready() || failure.failed()) return;
    const auto entry = waiting_in[world_rank].insert(what);
    changed.wait(lock, [&] { return ready() || failure.failed(); });
    waiting_in[world_rank].erase(entry);
  }
};

/// What one rank shows the others during a collective.
struct InProcessSlot {
  Call call;
  void* data = nullptr;  // in place, or the output
  const void* input = nullptr;
  const int64_t* input_splits = nullptr;  // all_to_all, in elements
  const int64_t* output_splits = nullptr;
  int color = 0;  // split
  int key = 0;
};

struct InProcessGroup {
  InProcessGroup(std::shared_ptr<InProcessWorld> world, std::vector<int> world_ranks);

  int size() const { return static_cast<int>(world_ranks.size()); }

  /// Waits until every rank of the group has come here as often as this one. `what` is for the error message.
  /// @throws PeerFailure; core::Error when a rank has destroyed its communicator and so can never come.
  void meet(int rank, const char* what);
  void leave(int rank);  ///< this rank's communicator is gone

  /// Messages are copied when they are sent and matched by (from, to, tag) in the order of the calls on both
  /// sides.
  struct Mailbox {
    uint64_t num_sent = 0;
    uint64_t num_expected = 0;
    std::map<uint64_t, at::Tensor> messages;
  };
  Mailbox& mailbox(int from, int to, int tag) { return mailboxes[{from, to, tag}]; }

  const std::shared_ptr<InProcessWorld> world;
  const std::vector<int> world_ranks;  // by rank of this group

  std::vector<InProcessSlot> slots;  // written by their rank before a meeting, read by all after it
  std::map<int, std::shared_ptr<InProcessGroup>> parts;  // of the split under way, by color

  // Under world->mutex:
  std::map<std::tuple<int, int, int>, Mailbox> mailboxes;
  std::vector<uint64_t> meetings;  // that each rank has come to
  std::vector<bool> left;
};

}  // namespace phalanx::comm
