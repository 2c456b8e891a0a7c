#include "trainer/saved_state.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <string>

namespace phalanx::trainer {
namespace {

using checkpoint::Box;
using checkpoint::TensorSlice;
using parallel::FlatParameters;
using parallel::OwnedPiece;

// `values` [numel] of a piece as slices of the whole tensor, views of them.
void add_slices(const std::string& name, const OwnedPiece& piece, const at::Tensor& values,
                std::vector<TensorSlice>& slices) {
  const parallel::ParameterSlot& slot = *piece.slot;
  const auto& part = slot.traits.part;
  int64_t begin = 0;
  for (const Box& box : checkpoint::boxes_of_run(slot.sizes, piece.begin, piece.numel)) {
    std::vector<int64_t> offset = box.offset;
    for (size_t d = 0; part && d < offset.size(); ++d) offset[d] += part->offset[d];
    const int64_t count = box.num_elements();
    slices.push_back(
        {name, values.narrow(0, begin, count).view(box.shape), part ? part->shape : slot.sizes, offset});
    begin += count;
  }
}

std::string weight_name(const std::string& name) {
  return name.starts_with(kCriticPrefix) ? name : std::string(checkpoint::kWeightPrefix) + name;
}

}  // namespace

std::vector<TensorSlice> owned_state(const FlatParameters& parameters, const Optimizer& optimizer,
                                     const std::string& prefix, bool with_copies) {
  std::vector<TensorSlice> slices;
  const auto pieces = parameters.owned_pieces();
  for (const OwnedPiece& piece : pieces) {
    if (with_copies || !piece.slot->traits.is_copy)
      add_slices(weight_name(prefix + piece.slot->name), piece, parameters.master(piece), slices);
  }
  for (const auto& [name, buffer] : optimizer.state()) {
    for (const OwnedPiece& piece : pieces) {
      if (with_copies || !piece.slot->traits.is_copy)
        add_slices("optimizer." + name + "." + prefix + piece.slot->name, piece,
                   buffer.narrow(0, piece.owned_offset, piece.numel), slices);
    }
  }
  return slices;
}

size_t take_masters(FlatParameters& parameters, std::span<const TensorSlice> slices) {
  const at::NoGradGuard no_grad;
  size_t next = 0;
  for (const OwnedPiece& piece : parameters.owned_pieces()) {
    const size_t count = checkpoint::boxes_of_run(piece.slot->sizes, piece.begin, piece.numel).size();
    std::vector<at::Tensor> parts;
    for (size_t i = 0; i < count; ++i) parts.push_back(slices[next++].local.reshape(-1));
    parameters.set_master(piece, count == 1 ? parts[0] : at::cat(parts));
  }
  return next;
}

}  // namespace phalanx::trainer
