#pragma once
#include <memory>
#include <vector>

#include "comm/call.h"
#include "comm/mpi_group.h"
#include "comm/shared_meeting.h"
#include "comm/shared_segment.h"

namespace phalanx::comm {

/// Collectives of processes on one host through a shared segment. A tensor passes in pieces that stay in the
/// cache: each rank copies a piece of its own into its staging area, all meet, each reads what it needs from
/// the others. Every staging area has two halves, used in turn: whoever has come to the next meeting no
/// longer reads the half before, so one meeting for each copy is enough.
class SharedCollectives {
 public:
  /// Collective. Null on every rank when the processes cannot share memory.
  static std::unique_ptr<SharedCollectives> make(const MpiGroup& group);

  void all_reduce(const Call& call, void* data);
  void reduce_scatter(const Call& call, void* output, const void* input);
  void all_gather(const Call& call, void* output, const void* input);
  void all_to_all(const Call& call, void* output, const void* input,
                  const std::vector<int64_t>& output_splits, const std::vector<int64_t>& input_splits);
  void broadcast(const Call& call, void* data);
  void barrier();

 private:
  struct Board;  // what a rank shows the others

  SharedCollectives(const MpiGroup& group, std::unique_ptr<SharedSegment> segment, int64_t half_bytes);

  Board& board(int rank, int half) const;
  int64_t* splits(int rank, int half) const;
  char* staging(int rank) const;  ///< the half in use
  void show(const Call& call);    ///< before the first meeting of a collective
  void meet(const Call& call);    ///< the first one of a collective checks that all call the same
  void next_half() { half_ ^= 1; }

  void all_reduce_small(const Call& call, void* data);
  void all_reduce_piece(const Call& call, char* data, int64_t numel);

  const MpiGroup& group_;
  std::unique_ptr<SharedSegment> segment_;
  int64_t half_bytes_;
  SharedMeeting meeting_;
  int half_ = 0;
  int board_half_ = 0;
  bool calls_unread_ = false;
};

}  // namespace phalanx::comm
