#include "checkpoint/write_plan.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <string_view>
#include <utility>

#include "checkpoint/agreement.h"
#include "checkpoint/digest.h"
#include "core/error.h"

namespace phalanx::checkpoint {

namespace {

using Json = nlohmann::json;

constexpr int64_t kSplitBytes = int64_t{1} << 20;  // a smaller slice is not worth a second dataset
constexpr size_t kMaxNameBytes = 1024;

[[noreturn]] void refuse(const std::string& name, const std::string& why) {
  core::fail(core::ExitCode::kBug, "checkpoint: tensor {}: {}", core::printable(name), why);
}

void check_name(const std::string& name) {
  const bool has_control = std::any_of(name.begin(), name.end(), [](unsigned char c) { return c < 0x20 || c == 0x7f; });
  if (name.empty() || name.size() > kMaxNameBytes || has_control || name.find('/') != std::string::npos || name == "." ||
      core::printable(name, kMaxNameBytes) != name) {
    refuse(name, "a name is UTF-8 of 1 to 1024 bytes without '/' and control characters");
  }
}

/// What this rank has, for the others: [[name, dtype, shape, offset, extent], ...] and a digest of each scalar.
std::string describe(const State& state) {
  Json slices = Json::array();
  for (const TensorSlice& slice : state.tensors) {
    if (!slice.local.defined()) refuse(slice.name, "is not defined");
    slices.push_back({slice.name, static_cast<int>(stored_dtype(slice.local.scalar_type())), slice.global_shape, slice.offset,
                      slice.local.sizes().vec()});
  }
  Json scalars = Json::object();
  for (const auto& [key, value] : state.scalars.items()) scalars[key] = to_hex(digest_of(value.dump()));
  return Json{{"slices", std::move(slices)}, {"scalars", std::move(scalars)}}.dump();
}

void check_scalars(const std::vector<Json>& ranks) {
  const Json& first = ranks[0].at("scalars");
  for (size_t rank = 1; rank < ranks.size(); ++rank) {
    const Json& other = ranks[rank].at("scalars");
    if (other == first) continue;
    std::string key = "(a key is missing)";
    for (const auto& [name, digest] : first.items()) {
      if (!other.contains(name) || other.at(name) != digest) key = name;
    }
    core::fail(core::ExitCode::kBug, "checkpoint: scalar {} of rank {} differs from rank 0's; scalars must be equal on all ranks",
               core::printable(key), rank);
  }
}

struct GatheredTensor {
  core::DType dtype;
  std::vector<int64_t> shape;
  std::vector<std::pair<Box, std::vector<int>>> slices;  // each box once, with the ranks that hold it
};

void add_slice(std::map<std::string, GatheredTensor>& tensors, const Json& item, int rank) {
  const auto name = item.at(0).get<std::string>();
  const auto dtype = static_cast<core::DType>(item.at(1).get<int>());
  const auto shape = item.at(2).get<std::vector<int64_t>>();
  const Box box{item.at(3).get<std::vector<int64_t>>(), item.at(4).get<std::vector<int64_t>>()};
  const auto [it, is_new] = tensors.try_emplace(name, GatheredTensor{dtype, shape, {}});
  GatheredTensor& tensor = it->second;
  if (is_new) check_name(name);
  if (tensor.dtype != dtype || tensor.shape != shape) refuse(name, "ranks do not agree on its dtype and global shape");
  for (auto& [known, holders] : tensor.slices) {
    if (known != box) continue;
    if (holders.back() == rank) refuse(name, "the same slice is listed twice");
    holders.push_back(rank);
    return;
  }
  tensor.slices.push_back({box, {rank}});
}

void check_partition(const std::string& name, const GatheredTensor& tensor) {
  std::vector<Box> boxes;
  for (const auto& [box, holders] : tensor.slices) boxes.push_back(box);
  const std::string problem = why_no_partition(boxes, tensor.shape);
  if (!problem.empty()) refuse(name, problem);
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

/// Largest first, each to the least loaded of its holders (Graham's rule); ties go to the lower piece and rank.
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

uint64_t WritePlan::total_bytes() const { return std::accumulate(rank_bytes.begin(), rank_bytes.end(), uint64_t{0}); }

WritePlan make_write_plan(comm::Communicator& ranks, const State& state) {
  std::string mine;
  agree(ranks, "plan", [&] { mine = describe(state); });
  std::vector<Json> gathered;  // the same on all ranks, and so is every error from here on
  for (const std::string& text : ranks.all_gather_strings(mine)) gathered.push_back(Json::parse(text));
  check_scalars(gathered);
  std::map<std::string, GatheredTensor> tensors;
  for (size_t rank = 0; rank < gathered.size(); ++rank) {
    for (const Json& item : gathered[rank].at("slices")) add_slice(tensors, item, static_cast<int>(rank));
  }

  WritePlan plan{.tensors = {}, .pieces = {}, .rank_bytes = std::vector<uint64_t>(gathered.size(), 0)};
  for (auto& [name, tensor] : tensors) {
    check_partition(name, tensor);
    std::sort(tensor.slices.begin(), tensor.slices.end(),
              [](const auto& a, const auto& b) { return a.first.offset < b.first.offset; });
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
