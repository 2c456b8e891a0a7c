#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "comm/communicator.h"
#include "model/module.h"

namespace phalanx::parallel {

/// What a scheme knows about a parameter beyond its name.
struct ParameterTraits {
  std::optional<model::Part> part;  ///< of a whole tensor, where it was cut
  /// Its gradients on the ranks of this group are parts of one sum (a norm that saw some of the tokens): they
  /// are added before anything else happens to them.
  comm::Communicator* partial_over = nullptr;
  /// The same, but added at the end of the step: a weight that two pipeline stages hold.
  comm::Communicator* tied_over = nullptr;
  /// Another rank, outside the data-parallel ones, holds the same values and answers for them: in the
  /// gradient norm and in checkpoints they count once.
  bool is_copy = false;
  /// One of the experts that only some of the data-parallel ranks hold: Mesh::holders(true).
  bool is_expert = false;
};
using Traits = std::map<std::string, ParameterTraits>;  // by parameter name

/// One parameter inside a block.
struct ParameterSlot {
  std::string name;            // global name: Hugging Face's tensor name, or the adapter's
  at::Tensor param;            // the module's parameter, now a view into the block's compute weights
  std::vector<int64_t> sizes;  // its shape here
  size_t block = 0;
  int64_t offset = 0;  // elements from the start of the block
  int64_t numel = 0;
  bool decay = true;  // weight decay applies: not to norms and biases (tensors with fewer than 2 dimensions)
  ParameterTraits traits;
};

/// What is communicated at once: some neighbouring parameters. Its length is a multiple of the number of
/// shards; this rank owns elements [owned_begin, owned_begin + owned_numel).
struct ParameterBlock {
  std::string unit;  // the module that all of it belongs to, where blocks follow modules
  int64_t numel = 0, owned_begin = 0, owned_numel = 0;
  int64_t owned_offset = 0;  // of its owned part in the buffers of all owned parts
  int64_t offset = 0;        // of the block in the buffer of all blocks
  size_t first_slot = 0, end_slot = 0;
  bool is_resident =
      true;  // whole compute weights stay: below stage 3, and the few of a vector outside all layers
  bool is_expert = false;  // all of it: it has other holders than the rest
};

struct FlatOptions {
  at::ScalarType compute_dtype = at::kFloat;
  int64_t zero_stage = 0;
  int64_t shard_rank = 0, num_shards = 1;                // ignored at stage 0: everybody owns everything
  int64_t expert_shard_rank = 0, num_expert_shards = 1;  // the same for blocks of experts
  int64_t block_bytes = 32 << 20;     // of gradients, at least; at stage 3 a block is a module
  bool is_trained = true;             // false: frozen weights, neither gradients nor masters
  bool keeps_whole_gradient = false;  // at stages 2 and 3, too (mesh_invariant sums whole gradients)
  at::Device device = at::kCPU;
  bool masters_on_host = false;  ///< lower halves and optimizer state, whatever the device of the weights
  std::function<ParameterTraits(const std::string& name)> traits = {};
  at::Device master_device() const { return masters_on_host ? at::Device(at::kCPU) : device; }
};

/// A piece of the owned parts with one decay setting: what an optimizer updates in one call. Views.
struct UpdateRange {
  at::Tensor compute, grad;
  at::Tensor lower;          // undefined where compute is the master
  int64_t owned_offset = 0;  // where it begins in the optimizer's state buffers
  bool decay = true;
};

/// The part of a parameter that this rank owns: `numel` elements from `begin` on in the parameter's own
/// row-major order.
struct OwnedPiece {
  const ParameterSlot* slot;
  int64_t begin = 0, numel = 0;
  int64_t owned_offset = 0;
};

/// All parameters of one kind (trained or frozen) of a model in flat buffers, cut into blocks:
///
///     compute  compute dtype; the module's parameters are views into it
///     grad     fp32 (fp64 for fp64); sums of the backward land here
///     master   dtype of grad: what the optimizer updates. With fp32 and fp64 it is `compute` itself. With
///     bf16 it
///              exists in two halves: `compute` is the upper one, `lower` int16 the other one
///              (ops/split_weights.h), so that a master weight costs 2 bytes more and not 4
///
/// What is whole on each rank and what is a shard (of numel / num_shards) follows the ZeRO stage (Rajbhandari
/// et al. 2020, arXiv:1910.02054): 0 nothing is cut; 1 master halves and optimizer state; 2 gradients too; 3
/// compute weights too, gather() brings a block's together. Slots stand in reverse execution order, so that
/// the backward completes blocks front to back; experts that have other holders stand before the rest of
/// their layer. Slots begin at multiples of 64 bytes. Talks to no other rank.
class FlatParameters {
 public:
  /// @param parameters  (name, parameter) in execution order. Given in the master dtype where the source has
  /// that
  ///                    precision, they are rounded to the compute dtype here and the master keeps all bits.
  FlatParameters(const model::NamedTensors& parameters, const FlatOptions& options);

  const std::vector<ParameterSlot>& slots() const { return slots_; }
  const std::vector<ParameterBlock>& blocks() const { return blocks_; }
  const FlatOptions& options() const { return options_; }
  int64_t num_parameters() const;  ///< of the slots, without alignment gaps
  int64_t num_owned() const { return owned_numel_; }
  at::ScalarType compute_dtype() const { return options_.compute_dtype; }
  at::ScalarType master_dtype() const;

  at::Tensor compute(size_t block) const { return compute_[block]; }  ///< whole; empty while dropped
  at::Tensor owned_compute(size_t block) const { return owned_compute_[block]; }
  void materialise(size_t block);  ///< not resident: memory for the whole block, to be filled by the caller
  void drop(size_t block);         ///< not resident: gives it back
  bool is_materialised(size_t block) const;

  /// The gradient of a whole block. With sharded gradients it is memory that is made (zeros) on first use
  /// and lives until drop_grad().
  at::Tensor grad(size_t block);
  at::Tensor grad(const ParameterSlot& slot);
  bool has_grad(size_t block) const { return !has_sharded_grad() || grad_[block].defined(); }
  at::Tensor drop_grad(size_t block);
  at::Tensor owned_grad(size_t block) const;
  bool has_sharded_grad() const;
  void zero_grad();
  /// Everything, where gradients are whole: one buffer.
  const at::Tensor& whole_grad() const { return whole_grad_; }

  std::vector<UpdateRange> update_ranges() const;
  std::vector<OwnedPiece> owned_pieces() const;
  /// The master weights of a piece, [numel]: a view, or a copy where they are split.
  at::Tensor master(const OwnedPiece& piece) const;
  void set_master(const OwnedPiece& piece, const at::Tensor& values);  ///< [numel]
  at::Tensor owned_grad(const OwnedPiece& piece) const;

  /// The part of a block-sized buffer that belongs to `slot`, in the parameter's shape.
  static at::Tensor view(const at::Tensor& block_buffer, const ParameterSlot& slot);

 private:
  void lay_out(const model::NamedTensors& parameters);
  void allocate(const at::TensorOptions& like);
  at::Tensor owned_lower(size_t block) const;
  bool is_small(const ParameterBlock& block) const;
  bool is_sharded() const { return options_.zero_stage > 0 && options_.num_shards > 1; }

  FlatOptions options_;
  std::vector<ParameterSlot> slots_;
  std::vector<ParameterBlock> blocks_;
  int64_t numel_ = 0, owned_numel_ = 0;
  std::vector<at::Tensor> compute_, owned_compute_;
  at::Tensor lower_;              // of all owned parts
  at::Tensor whole_grad_;         // of all blocks, or undefined
  at::Tensor sharded_grad_;       // of all owned parts, or undefined
  std::vector<at::Tensor> grad_;  // per block: views of whole_grad_, or what is alive just now
};

/// "model.layers.3" of "model.layers.3.mlp.up_proj.weight": the path up to its first number; without one, the
/// module that owns the parameter.
std::string unit_of(const std::string& parameter_name);

}  // namespace phalanx::parallel
