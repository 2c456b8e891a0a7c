#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "comm/call.h"
#include "comm/failure.h"

namespace phalanx::comm {

/// The blocking half of a host backend: one rank's end of one group, raw memory, one collective at a time (a
/// queue sees to that). HostCommunicator puts argument checks, byte counts and async work on top of it. Every
/// method throws PeerFailure once a rank of the job has failed, and core::Error when the ranks' calls differ.
class HostTransport {
 public:
  virtual ~HostTransport() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;
  virtual int world_rank() const = 0;  ///< of this process or thread in the job, for error messages
  virtual const char* backend() const = 0;

  virtual void all_reduce(const Call& call, void* data) = 0;
  virtual void reduce_scatter(const Call& call, void* output, const void* input) = 0;
  virtual void all_gather(const Call& call, void* output, const void* input) = 0;
  virtual void all_to_all(const Call& call, void* output, const void* input,
                          const std::vector<int64_t>& output_splits,
                          const std::vector<int64_t>& input_splits) = 0;  ///< splits in elements
  virtual void broadcast(const Call& call, void* data) = 0;
  virtual void barrier() = 0;
  virtual std::unique_ptr<HostTransport> split(int color, int key) = 0;

  /// Point to point goes beside the queue of collectives: both start at once, in the order of the calls, and
  /// wait() finishes them. The tensors are kept alive by the returned work.
  virtual std::unique_ptr<Work> send(at::Tensor tensor, int to, int tag) = 0;
  virtual std::unique_ptr<Work> recv(at::Tensor tensor, int from, int tag) = 0;

  /// Takes the memory of a collective that ended with an exception, for as long as the other ranks (or MPI)
  /// may still read it and write to it.
  virtual void keep(std::shared_ptr<const void> memory) = 0;

  virtual void fail(Failure failure) = 0;  ///< from any thread: releases every rank of the job
  virtual const FailureRecord& failure_record() const = 0;
  virtual void check() { failure_record().throw_if_failed(); }  ///< throws PeerFailure if a rank has failed
};

}  // namespace phalanx::comm
