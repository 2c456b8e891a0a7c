#pragma once
#include <memory>
#include <vector>

#include "comm/call.h"
#include "comm/mpi_group.h"

namespace phalanx::comm {

/// One contiguous piece of memory that goes to or comes from a rank of the group.
struct Parcel {
  int peer = 0;
  void* data = nullptr;
  int64_t bytes = 0;
};

/// Starts all transfers, cut into messages of at most 1 GiB (MPI counts are ints).
std::vector<MPI_Request> start_sending(MPI_Comm comm, const Parcel& parcel, int tag);
std::vector<MPI_Request> start_receiving(MPI_Comm comm, const Parcel& parcel, int tag);

/// True when all of `requests` are done; checks that each received as much as was asked for
/// (`expected_bytes`, total).
class Transfer {
 public:
  Transfer() = default;
  void add(std::vector<MPI_Request> requests);
  bool test();  ///< one round of progress
  bool done() const { return pending_.empty(); }
  int64_t received_bytes() const { return received_bytes_; }

 private:
  std::vector<MPI_Request> pending_;
  int64_t received_bytes_ = 0;
};

/// Collectives made of messages between all pairs: for groups over several hosts. Sums go through the same
/// tree as on every other backend: each rank gets all the ranks' versions of the part that it owns. Memory: 4
/// MiB for each rank. The message tag is a hash of the call, so ranks that have lost step never mix up data:
/// they time out.
class MpiMessages {
 public:
  explicit MpiMessages(const MpiGroup& group) : group_(group) {}

  void all_reduce(const Call& call, void* data);
  void reduce_scatter(const Call& call, void* output, const void* input);
  void all_gather(const Call& call, void* output, const void* input);
  void all_to_all(const Call& call, void* output, const void* input,
                  const std::vector<int64_t>& output_splits, const std::vector<int64_t>& input_splits);
  void broadcast(const Call& call, void* data);
  void barrier();

 private:
  void exchange(const Call& call, const std::vector<Parcel>& out, const std::vector<Parcel>& in);
  void reduce_own_part(const Call& call, char* own, const std::vector<Parcel>& out, int64_t numel,
                       char* result);

  /// What messages come from and go to beside the callers' memory.
  struct Scratch {
    std::vector<char> versions;  // of the part of a sum that this rank owns
    std::vector<int64_t> announced, to_announce;
  };

  const MpiGroup& group_;
  std::shared_ptr<Scratch> scratch_ = std::make_shared<Scratch>();
};

}  // namespace phalanx::comm
