#include "parallel/flat_parameters.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>

#include "ops/split_weights.h"
#include "ops/sum_dtype.h"

namespace phalanx::parallel {
namespace {

constexpr int64_t kAlignElements = 16;  // 64 bytes of fp32: one cache line, one AVX-512 register

int64_t round_up(int64_t value, int64_t unit) {
  return (value + unit - 1) / unit * unit;
}

// The memory of a tensor is given back and taken again under all views of it, which autograd may hold.
void resize_storage(const at::Tensor& tensor, size_t bytes) {
  c10::StorageImpl* storage = tensor.storage().unsafeGetStorageImpl();
  if (storage->nbytes() == bytes) return;
  storage->set_data_ptr_noswap(c10::GetAllocator(tensor.device().type())->allocate(bytes));
  storage->set_nbytes(bytes);
}

// A weight that pipeline stages share lies alone, so that its owned part is the same on both.
bool stands_alone(const ParameterTraits& traits) {
  return traits.tied_over != nullptr;
}

struct Described {
  std::string name;
  at::Tensor param;
  ParameterTraits traits;
};

// Reverse execution order, experts before the rest of their unit.
std::vector<Described> in_slot_order(const model::NamedTensors& parameters, const FlatOptions& options) {
  std::vector<Described> order;
  for (auto it = parameters.rbegin(); it != parameters.rend(); ++it)
    order.push_back({it->first, it->second, options.traits ? options.traits(it->first) : ParameterTraits()});
  for (auto begin = order.begin(); begin != order.end();) {
    const auto end = std::find_if(begin, order.end(), [unit = unit_of(begin->name)](const Described& d) {
      return unit_of(d.name) != unit;
    });
    std::stable_partition(begin, end, [](const Described& d) { return d.traits.is_expert; });
    begin = end;
  }
  return order;
}

}  // namespace

std::string unit_of(const std::string& name) {
  size_t begin = 0;
  for (size_t dot = name.find('.'); dot != std::string::npos; dot = name.find('.', begin)) {
    const std::string part = name.substr(begin, dot - begin);
    if (!part.empty() && part.find_first_not_of("0123456789") == std::string::npos)
      return name.substr(0, dot);
    begin = dot + 1;
  }
  return name.substr(0, begin == 0 ? name.size() : begin - 1);
}

FlatParameters::FlatParameters(const model::NamedTensors& parameters, const FlatOptions& options)
    : options_(options) {
  lay_out(parameters);
  if (parameters.empty()) return;  // a pipeline stage may have nothing to train
  at::NoGradGuard no_grad;
  allocate(at::TensorOptions().device(options.device).dtype(options.compute_dtype));
  for (size_t b = 0; b < blocks_.size(); ++b) {
    // Through the block's whole weights: what this rank owns of them need not begin where a parameter does.
    const at::Tensor values =
        at::zeros({blocks_[b].numel},
                  compute_[b].options().dtype(options_.is_trained ? master_dtype() : options_.compute_dtype));
    for (size_t s = blocks_[b].first_slot; s < blocks_[b].end_slot; ++s)
      view(values, slots_[s]).copy_(slots_[s].param);
    if (lower_.defined()) {
      at::Tensor lower = at::empty({blocks_[b].numel}, lower_.options().device(options_.device));
      ops::split_halves(values, compute_[b], lower);
      owned_lower(b).copy_(lower.narrow(0, blocks_[b].owned_begin, blocks_[b].owned_numel));
    } else {
      compute_[b].copy_(values);
    }
    if (!blocks_[b].is_resident)
      owned_compute_[b].copy_(compute_[b].narrow(0, blocks_[b].owned_begin, blocks_[b].owned_numel));
    for (size_t s = blocks_[b].first_slot; s < blocks_[b].end_slot; ++s)
      slots_[s].param.set_data(view(compute_[b], slots_[s]));
    if (!blocks_[b].is_resident) drop(b);
  }
}

void FlatParameters::lay_out(const model::NamedTensors& parameters) {
  const int64_t block_numel = options_.block_bytes / static_cast<int64_t>(c10::elementSize(master_dtype()));
  const auto close = [&] {
    if (blocks_.empty()) return;
    ParameterBlock& block = blocks_.back();
    const int64_t shards = !is_sharded()     ? 1
                           : block.is_expert ? options_.num_expert_shards
                                             : options_.num_shards;
    const int64_t rank = shards == 1 ? 0 : block.is_expert ? options_.expert_shard_rank : options_.shard_rank;
    block.numel = round_up(block.numel, kAlignElements * shards);
    block.owned_numel = block.numel / shards;
    block.owned_begin = rank * block.owned_numel;
    block.owned_offset = owned_numel_;
    block.offset = numel_;
    block.end_slot = slots_.size();
    block.is_resident = options_.zero_stage < 3 || shards == 1 || is_small(block);
    owned_numel_ += block.owned_numel;
    numel_ += block.numel;
  };
  bool is_alone = false;
  for (auto& [name, param, traits] : in_slot_order(parameters, options_)) {
    const std::string unit = unit_of(name);
    const bool is_full = !blocks_.empty() && blocks_.back().numel >= block_numel;
    const bool is_next_unit = !blocks_.empty() && blocks_.back().unit != unit;
    const bool has_other_holders = !blocks_.empty() && blocks_.back().is_expert != traits.is_expert;
    const bool follows_modules = options_.zero_stage == 3;
    if (blocks_.empty() || is_alone || stands_alone(traits) || has_other_holders ||
        (follows_modules ? is_next_unit : is_full)) {
      close();
      blocks_.push_back({.unit = unit, .first_slot = slots_.size(), .is_expert = traits.is_expert});
    }
    is_alone = stands_alone(traits);
    slots_.push_back({name, param, param.sizes().vec(), blocks_.size() - 1, blocks_.back().numel,
                      param.numel(), param.dim() >= 2, std::move(traits)});
    blocks_.back().numel += round_up(param.numel(), kAlignElements);
  }
  close();
}

// Vectors outside all layers: the last norm, the score of a reward model or critic.
bool FlatParameters::is_small(const ParameterBlock& block) const {
  const bool is_in_layer = block.unit.find_first_of("0123456789") != std::string::npos;
  return !is_in_layer &&
         std::all_of(slots_.begin() + static_cast<std::ptrdiff_t>(block.first_slot), slots_.end(),
                     [](const ParameterSlot& slot) {
                       return std::ranges::count_if(slot.sizes, [](int64_t size) { return size > 1; }) < 2;
                     });
}

void FlatParameters::allocate(const at::TensorOptions& compute) {
  const at::TensorOptions main = compute.dtype(master_dtype());
  for (const ParameterBlock& block : blocks_) {
    compute_.push_back(at::zeros({block.numel}, compute));
    owned_compute_.push_back(block.is_resident
                                 ? compute_.back().narrow(0, block.owned_begin, block.owned_numel)
                                 : at::zeros({block.owned_numel}, compute));
  }
  if (!options_.is_trained) return;
  if (main.dtype() != compute.dtype())
    lower_ = at::zeros({owned_numel_}, compute.dtype(at::kShort).device(options_.master_device()));
  if (has_sharded_grad()) {
    sharded_grad_ = at::zeros({owned_numel_}, main);
    grad_.resize(blocks_.size());
  } else {
    whole_grad_ = at::zeros({numel_}, main);
    for (const ParameterBlock& block : blocks_)
      grad_.push_back(whole_grad_.narrow(0, block.offset, block.numel));
  }
}

at::ScalarType FlatParameters::master_dtype() const {
  return ops::sum_dtype(options_.compute_dtype);
}

int64_t FlatParameters::num_parameters() const {
  int64_t sum = 0;
  for (const ParameterSlot& slot : slots_) sum += slot.numel;
  return sum;
}

at::Tensor FlatParameters::view(const at::Tensor& buffer, const ParameterSlot& slot) {
  return buffer.narrow(0, slot.offset, slot.numel).view(slot.sizes);
}

bool FlatParameters::is_materialised(size_t block) const {
  return compute_[block].storage().nbytes() > 0;
}
void FlatParameters::materialise(size_t block) {
  resize_storage(compute_[block],
                 static_cast<size_t>(compute_[block].numel() * compute_[block].element_size()));
}
void FlatParameters::drop(size_t block) {
  resize_storage(compute_[block], 0);
}

bool FlatParameters::has_sharded_grad() const {
  return options_.zero_stage >= 2 && options_.num_shards > 1 && !options_.keeps_whole_gradient;
}
at::Tensor FlatParameters::grad(size_t block) {
  if (!grad_[block].defined()) grad_[block] = at::zeros({blocks_[block].numel}, sharded_grad_.options());
  return grad_[block];
}
at::Tensor FlatParameters::grad(const ParameterSlot& slot) {
  return view(grad(slot.block), slot);
}
at::Tensor FlatParameters::drop_grad(size_t block) {
  return std::exchange(grad_[block], at::Tensor());
}
at::Tensor FlatParameters::owned_grad(size_t block) const {
  const ParameterBlock& b = blocks_[block];
  return has_sharded_grad() ? sharded_grad_.narrow(0, b.owned_offset, b.owned_numel)
                            : grad_[block].narrow(0, b.owned_begin, b.owned_numel);
}
void FlatParameters::zero_grad() {
  if (whole_grad_.defined()) whole_grad_.zero_();
  if (sharded_grad_.defined()) sharded_grad_.zero_();
}
at::Tensor FlatParameters::owned_lower(size_t block) const {
  return lower_.defined() ? lower_.narrow(0, blocks_[block].owned_offset, blocks_[block].owned_numel)
                          : at::Tensor();
}

std::vector<UpdateRange> FlatParameters::update_ranges() const {
  std::vector<UpdateRange> ranges;
  for (size_t b = 0; b < blocks_.size(); ++b) {
    const ParameterBlock& block = blocks_[b];
    const int64_t owned_end = block.owned_begin + block.owned_numel;
    size_t s = block.first_slot;
    while (s < block.end_slot) {  // neighbours of one decay; an alignment gap goes with the slot before it
      size_t next = s + 1;
      while (next < block.end_slot && slots_[next].decay == slots_[s].decay) ++next;
      const int64_t begin = std::max(slots_[s].offset, block.owned_begin);
      const int64_t end = std::min(next < block.end_slot ? slots_[next].offset : block.numel, owned_end);
      if (begin < end) {
        const auto part = [&](const at::Tensor& owned) {
          return owned.defined() ? owned.narrow(0, begin - block.owned_begin, end - begin) : owned;
        };
        ranges.push_back({part(owned_compute_[b]), part(owned_grad(b)), part(owned_lower(b)),
                          block.owned_offset + begin - block.owned_begin, slots_[s].decay});
      }
      s = next;
    }
  }
  return ranges;
}

std::vector<OwnedPiece> FlatParameters::owned_pieces() const {
  std::vector<OwnedPiece> pieces;
  for (const ParameterSlot& slot : slots_) {
    const ParameterBlock& block = blocks_[slot.block];
    const int64_t begin = std::max(slot.offset, block.owned_begin);
    const int64_t end = std::min(slot.offset + slot.numel, block.owned_begin + block.owned_numel);
    if (begin < end)
      pieces.push_back(
          {&slot, begin - slot.offset, end - begin, block.owned_offset + begin - block.owned_begin});
  }
  return pieces;
}

at::Tensor FlatParameters::master(const OwnedPiece& piece) const {
  const int64_t begin = piece.owned_offset - blocks_[piece.slot->block].owned_offset;
  const at::Tensor upper = owned_compute_[piece.slot->block].narrow(0, begin, piece.numel);
  if (!lower_.defined()) return upper;
  return ops::join_halves(upper.to(lower_.device()), lower_.narrow(0, piece.owned_offset, piece.numel));
}

void FlatParameters::set_master(const OwnedPiece& piece, const at::Tensor& values) {
  at::NoGradGuard no_grad;
  const int64_t begin = piece.owned_offset - blocks_[piece.slot->block].owned_offset;
  const at::Tensor upper = owned_compute_[piece.slot->block].narrow(0, begin, piece.numel);
  if (lower_.defined()) {
    const bool is_apart = upper.device() != lower_.device();
    const at::Tensor rounded = is_apart ? at::empty_like(upper, lower_.device()) : upper;
    ops::split_halves(values.to(lower_.device()), rounded, lower_.narrow(0, piece.owned_offset, piece.numel));
    if (is_apart) upper.copy_(rounded);
  } else if (values.data_ptr() != upper.data_ptr()) {
    upper.copy_(values);
  }
}

at::Tensor FlatParameters::owned_grad(const OwnedPiece& piece) const {
  const int64_t begin = piece.owned_offset - blocks_[piece.slot->block].owned_offset;
  return owned_grad(piece.slot->block).narrow(0, begin, piece.numel);
}

}  // namespace phalanx::parallel
