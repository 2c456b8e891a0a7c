#pragma once
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "model/causal_lm.h"
#include "parallel/flat_parameters.h"
#include "parallel/mesh.h"

namespace phalanx::parallel {

/// The forward and backward of ZeRO stage 3: a module's weights are gathered over mesh.shard() just before it
/// runs and dropped just after, in the backward again.
///
///     forward    gather 0 | run 0, gather 1 | drop 0, run 1, gather 2 | ...
///     backward   ... gather 1 | run 1, gather 0 | drop 1, run 0 | drop 0
///
/// The next layer's gather runs beside the present layer's computation. Embedding and output matrix are
/// gathered where they are read (the backward of an embedding or a cross-entropy needs no weights). No
/// autograd node holds a weight's memory: all of them see one storage, which is emptied and filled again.
/// Sent per rank: (N-1)/N of the compute weights in each forward and each backward.
class ShardedWeights {
 public:
  /// Puts itself around the layers, the embedding and the head of `model`, which it must not outlive.
  /// `holders`: the trained and the frozen parameters.
  ShardedWeights(model::CausalLm& model, std::vector<FlatParameters*> holders, const Mesh& mesh);

  /// After a backward: drops what a layer whose input needed no gradient has left.
  void drop_all();
  int64_t num_materialised() const;  ///< blocks, for tests

 private:
  struct Part {
    FlatParameters* holder;
    size_t block;
    std::unique_ptr<comm::Work> work;  // the gather under way
    at::Tensor owned;                  // what it sends
  };
  using Unit = std::vector<Part>;

  void start(const std::string& unit);   // begins to gather
  void gather(const std::string& unit);  // and waits
  void drop(const std::string& unit);
  std::string layer_unit(int64_t layer) const;  // "" if it is not here
  void wrap_layers(model::CausalLm& model);
  void wrap_embedding(model::CausalLm& model);
  void wrap_head(model::CausalLm& model);

  const Mesh& mesh_;
  std::map<std::string, Unit> units_;
  std::map<int64_t, std::string> layers_;
};

}  // namespace phalanx::parallel
