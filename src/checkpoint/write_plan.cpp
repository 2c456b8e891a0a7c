#include "checkpoint/write_plan.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <utility>

#include "checkpoint/digest.h"
#include "checkpoint/slice_table.h"
#include "core/error.h"

namespace phalanx::checkpoint {

namespace {

using Json = nlohmann::json;

constexpr int64_t kSplitBytes = int64_t{1} << 20;  // a smaller slice is not worth a second dataset
[[noreturn]] void refuse_tensor(const std::string& name, const std::string& why) {
  core::fail(core::ExitCode::kBug, "checkpoint: tensor {}: {}", core::printable(name), why);
}

/// Rank 0's scalars are written, so they must be everyone's.
void check_scalars(comm::Communicator& ranks, const State& state) {
  Json mine = Json::object();
  for (const auto& [key, value] : state.scalars.items()) mine[key] = to_hex(digest_of(value.dump()));
  const std::vector<std::string> gathered = ranks.all_gather_strings(mine.dump());
  for (size_t rank = 1; rank < gathered.size(); ++rank) {
    if (gathered[rank] == gathered[0]) continue;
    const Json first = Json::parse(gathered[0]), other = Json::parse(gathered[rank]);
    std::string key = "(a key is missing)";
    for (const auto& [name, digest] : first.items()) {
      if (!other.contains(name) || other.at(name) != digest) key = name;
    }
    core::fail(core::ExitCode::kBug,
               "checkpoint: scalar {} of rank {} differs from rank 0's; scalars must be equal on all ranks",
               core::printable(key), rank);
  }
}

void check_partition(const std::string& name, const SharedTensor& tensor) {
  std::vector<Box> boxes;
  for (const auto& [box, holders] : tensor.slices) boxes.push_back(box);
  const std::string problem = why_no_partition(boxes, tensor.shape);
  if (!problem.empty()) refuse_tensor(name, problem);
}

/// Ranges of the first dimension, one for each holder.
std::vector<Box> split(const Box& box, size_t num_holders, int64_t size_bytes) {
  if (num_holders < 2 || size_bytes < kSplitBytes || box.shape.empty() || box.shape[0] < 2) return {box};
  const int64_t parts = std::min<int64_t>(static_cast<int64_t>(num_holders), box.shape[0]);
  std::vector<Box> boxes;
  for (int64_t part = 0; part < parts; ++part) {
    const int64_t begin = box.shape[0] * part / parts;
    Box piece = box;
    piece.offset[0] += begin;
    piece.shape[0] = box.shape[0] * (part + 1) / parts - begin;
    boxes.push_back(std::move(piece));
  }
  return boxes;
}

/// Largest first, each to the least loaded of its holders (Graham's rule); ties go to the lower piece and
/// rank.
void assign_writers(WritePlan& plan) {
  std::vector<size_t> order(plan.pieces.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return plan.pieces[a].size_bytes > plan.pieces[b].size_bytes; });
  for (const size_t i : order) {
    PlannedPiece& piece = plan.pieces[i];
    const auto load = [&](int rank) { return plan.rank_bytes[static_cast<size_t>(rank)]; };
    piece.writer = *std::min_element(piece.holders.begin(), piece.holders.end(),
                                     [&](int a, int b) { return load(a) < load(b); });
    plan.rank_bytes[static_cast<size_t>(piece.writer)] += piece.size_bytes;
  }
}

}  // namespace

uint64_t WritePlan::total_bytes() const {
  return std::accumulate(rank_bytes.begin(), rank_bytes.end(), uint64_t{0});
}

WritePlan make_write_plan(comm::Communicator& ranks, const State& state) {
  check_scalars(ranks, state);
  const std::map<std::string, SharedTensor> tensors = gather_slices(ranks, state.tensors);

  WritePlan plan{
      .tensors = {}, .pieces = {}, .rank_bytes = std::vector<uint64_t>(static_cast<size_t>(ranks.size()), 0)};
  for (const auto& [name, tensor] : tensors) {
    check_partition(name, tensor);
    for (const auto& [slice, holders] : tensor.slices) {
      for (Box& box : split(slice, holders.size(), slice.num_elements() * core::block_bytes(tensor.dtype))) {
        const auto size_bytes = static_cast<uint64_t>(box.num_elements() * core::block_bytes(tensor.dtype));
        plan.pieces.push_back({plan.tensors.size(), std::move(box), 0, holders, size_bytes});
      }
    }
    plan.tensors.push_back({name, tensor.dtype, tensor.shape});
  }
  assign_writers(plan);
  return plan;
}

SliceIndex::SliceIndex(const std::vector<TensorSlice>& slices) {
  for (const TensorSlice& slice : slices) by_name_[slice.name].push_back(&slice);
}

const TensorSlice* SliceIndex::find(const std::string& name, const Box& box) const {
  const auto it = by_name_.find(name);
  if (it == by_name_.end()) return nullptr;
  for (const TensorSlice* slice : it->second) {
    if (contains(slice->box(), box)) return slice;
  }
  return nullptr;
}

}  // namespace phalanx::checkpoint
