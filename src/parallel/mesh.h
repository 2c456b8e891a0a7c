#pragma once
#include <cstdint>
#include <memory>
#include <string>

#include "comm/communicator.h"

namespace phalanx::parallel {

/// Sizes of the axes, outermost first: pp x dp_replicate x dp_shard x cp x tp. Ranks that differ in tp alone
/// are neighbours, so that the axis with the most traffic stays inside a host. Expert parallelism (ep) folds
/// into dp_shard x cp: it divides these ranks into groups of ep neighbours.
struct MeshShape {
  int64_t pp = 1, dp_replicate = 1, dp_shard = 1, cp = 1, tp = 1, ep = 1;

  int64_t num_ranks() const { return pp * dp_replicate * dp_shard * cp * tp; }
  std::string text() const;  ///< "pp 2 x dp_replicate 1 x dp_shard 2 x cp 1 x tp 2 = 8 ranks", and ", ep 2"
};

/// Where a rank stands on each axis.
struct MeshPosition {
  int64_t pp = 0, dp_replicate = 0, dp_shard = 0, cp = 0, tp = 0;
};
MeshPosition position_of(int64_t index, const MeshShape& shape);

/// The ranks that hold the same weights, whole or shared out.
struct Holders {
  comm::Communicator& shard;      // who shares out weights, gradients and optimizer state (ZeRO)
  comm::Communicator& replicate;  // the copies of what shard holds
  comm::Communicator& batch;      // all of them: gradients and losses are summed over it
};

/// The groups of a rank. Ranks of one host get neighbouring places (in the order of the hosts' first ranks),
/// so rank 0 is always at the origin. Building it is collective over `world`, which must outlive it; the
/// product of the axes is its size.
class Mesh {
 public:
  Mesh(comm::Communicator& world, const MeshShape& shape);

  const MeshShape& shape() const { return shape_; }
  const MeshPosition& position() const { return position_; }

  comm::Communicator& world() const { return world_; }
  comm::Communicator& pp() const { return *pp_; }
  comm::Communicator& tp() const { return *tp_; }
  comm::Communicator& cp() const { return *cp_; }
  /// dp_replicate x dp_shard: who shares out the samples of a step.
  comm::Communicator& dp() const { return *dp_; }
  /// dp_shard x cp: who shares out weights, gradients and optimizer state (ZeRO).
  comm::Communicator& shard() const { return *shard_; }
  /// The copies of what shard() holds.
  comm::Communicator& replicate() const { return *replicate_; }
  /// dp x cp: all ranks with the same parameters; losses and token counts are summed over it.
  comm::Communicator& batch() const { return *batch_; }
  /// Who shares out the experts of a layer: some ranks of shard().
  comm::Communicator& ep() const { return *ep_; }
  /// Of most weights: shard(), replicate() and batch(). Of an expert's those among them that have the same
  /// place in their ep().
  Holders holders(bool of_expert) const;

 private:
  comm::Communicator& world_;
  MeshShape shape_;
  MeshPosition position_;
  std::unique_ptr<comm::Communicator> pp_, tp_, cp_, dp_, shard_, replicate_, batch_, ep_;
  std::unique_ptr<comm::Communicator> expert_shard_, expert_batch_;  // null without expert parallelism
};

}  // namespace phalanx::parallel
