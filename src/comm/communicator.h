#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/error.h"

namespace phalanx::comm {

enum class ReduceOp { kSum, kMax, kMin };

/// A collective under way. The tensors given to it must stay alive and untouched until wait() returns.
class Work {
 public:
  virtual ~Work() = default;
  virtual void wait() = 0;  ///< throws what the collective threw; calling it twice is allowed
};

/// What this rank has put on the wire since the last reset, by collective name ("all_reduce",
/// "reduce_scatter", "all_gather", "all_to_all", "broadcast", "send", "recv", "barrier"). Bytes are those
/// that a ring algorithm sends from one rank, whatever the backend really does, so that tests can hold them
/// against theory; see traffic.h for the formulas.
struct Traffic {
  struct Count {
    int64_t calls = 0;
    int64_t bytes = 0;
  };
  std::map<std::string, Count> by_collective;
  int64_t total_bytes() const;
};

/// A group of ranks. Every method is collective over the group (send/recv over two ranks of it) and must be
/// called in the same order by all of them. Tensors are contiguous, of equal dtype and size on all ranks, in
/// host memory (in_process, mpi) or device memory (nccl). dtypes: float64 float32 bfloat16 float16 int64
/// int32 uint8. Host backends add in one fixed binary tree over the rank index, ((0+1)+(2+3))+..., so results
/// are the same bits on every rank, in every run and on either backend; bf16 and fp16 sums stay in fp32 up
/// the tree and are rounded once. nccl adds in an order of its own choice: equal bits on every rank, but not
/// from one number of ranks to the next.
/// @throws PeerFailure (a core::Error, failure.h) when another rank has failed or aborted: it carries that
/// rank and its error.
class Communicator {
 public:
  virtual ~Communicator() = default;

  virtual int rank() const = 0;
  virtual int size() const = 0;
  virtual std::string backend() const = 0;                ///< "in_process", "mpi" or "nccl"
  virtual at::Device device() const { return at::kCPU; }  ///< where the tensors of its collectives live

  virtual std::unique_ptr<Work> all_reduce_async(at::Tensor tensor, ReduceOp op) = 0;  // in place
  virtual std::unique_ptr<Work> reduce_scatter_async(at::Tensor output, at::Tensor input,
                                                     ReduceOp op) = 0;  // input: size() x output
  virtual std::unique_ptr<Work> all_gather_async(at::Tensor output,
                                                 at::Tensor input) = 0;  // output: size() x input
  virtual std::unique_ptr<Work> all_to_all_async(
      at::Tensor output, at::Tensor input,
      std::vector<int64_t> output_splits,      // elements from each rank
      std::vector<int64_t> input_splits) = 0;  // elements to each rank
  virtual std::unique_ptr<Work> broadcast_async(at::Tensor tensor, int root) = 0;
  virtual std::unique_ptr<Work> send_async(at::Tensor tensor, int to, int tag) = 0;
  virtual std::unique_ptr<Work> recv_async(at::Tensor tensor, int from, int tag) = 0;
  virtual void barrier() = 0;

  /// The ranks with the same `color` form a new group, ordered by `key`, then by rank. Collective.
  virtual std::unique_ptr<Communicator> split(int color, int key) = 0;

  /// This rank has failed: every other rank's pending and later calls throw `error`. Never blocks, may be
  /// called by any thread. `code` is the exit code that the others' errors carry.
  virtual void abort(const std::string& error, core::ExitCode code = core::ExitCode::kBug) = 0;
  /// Throws PeerFailure if a rank of the job has failed, without waiting for anything. For long work between
  /// collectives, and for backends whose waiting does not hear of failures by itself.
  virtual void check() = 0;

  void all_reduce(at::Tensor tensor, ReduceOp op = ReduceOp::kSum) { all_reduce_async(tensor, op)->wait(); }
  void reduce_scatter(at::Tensor output, at::Tensor input, ReduceOp op = ReduceOp::kSum) {
    reduce_scatter_async(output, input, op)->wait();
  }
  void all_gather(at::Tensor output, at::Tensor input) { all_gather_async(output, input)->wait(); }
  void broadcast(at::Tensor tensor, int root = 0) { broadcast_async(tensor, root)->wait(); }
  void send(at::Tensor tensor, int to, int tag = 0) { send_async(tensor, to, tag)->wait(); }
  void recv(at::Tensor tensor, int from, int tag = 0) { recv_async(tensor, from, tag)->wait(); }

  double all_reduce_scalar(double value, ReduceOp op = ReduceOp::kSum);
  int64_t all_reduce_scalar(int64_t value, ReduceOp op = ReduceOp::kSum);
  std::string broadcast_string(const std::string& text, int root = 0);
  std::vector<std::string> all_gather_strings(const std::string& text);  ///< one per rank, in rank order

  const Traffic& traffic() const { return traffic_; }
  void reset_traffic() { traffic_ = {}; }

 protected:
  void count(const std::string& collective, int64_t bytes);

 private:
  Traffic traffic_;
};

/// One rank, no threads, no MPI: what a single-process run and every non-training command use.
std::unique_ptr<Communicator> make_single_communicator();

}  // namespace phalanx::comm
