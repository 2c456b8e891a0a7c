#include "checkpoint/slice_table.h"

#include <algorithm>

#include "checkpoint/agreement.h"
#include "core/error.h"

namespace phalanx::checkpoint {

namespace {

using Json = nlohmann::json;

constexpr size_t kMaxNameBytes = 1024;

[[noreturn]] void refuse(const std::string& name, const std::string& why) {
  core::fail(core::ExitCode::kBug, "checkpoint: tensor {}: {}", core::printable(name), why);
}

void check_name(const std::string& name) {
  const bool is_plain =
      core::printable(name, kMaxNameBytes) == name && name.find('/') == std::string::npos && name != ".";
  if (name.empty() || !is_plain) {
    refuse(name, "a name is UTF-8 of 1 to 1024 bytes without '/' and control characters");
  }
}

/// This rank's slices for the others: [[name, dtype, shape, offset, extent], ...].
std::string describe(const std::vector<TensorSlice>& slices) {
  Json table = Json::array();
  for (const TensorSlice& slice : slices) {
    check_name(slice.name);
    if (!slice.local.defined()) refuse(slice.name, "is not defined");
    if (!is_within(slice.box(), slice.global_shape)) {
      refuse(slice.name, "slice " + to_string(slice.box()) + " is outside the tensor " +
                             to_string(whole(slice.global_shape)));
    }
    table.push_back({slice.name, static_cast<int>(stored_dtype(slice.local.scalar_type())),
                     slice.global_shape, slice.offset, slice.local.sizes().vec()});
  }
  return table.dump();
}

void add_slice(std::map<std::string, SharedTensor>& tensors, const Json& item, int rank) {
  const auto& name = item.at(0).get_ref<const std::string&>();
  const auto dtype = static_cast<core::DType>(item.at(1).get<int>());
  const auto shape = item.at(2).get<std::vector<int64_t>>();
  const Box box{item.at(3).get<std::vector<int64_t>>(), item.at(4).get<std::vector<int64_t>>()};
  SharedTensor& tensor = tensors.try_emplace(name, SharedTensor{dtype, shape, {}}).first->second;
  if (tensor.dtype != dtype || tensor.shape != shape)
    refuse(name, "ranks do not agree on its dtype and global shape");
  for (auto& [known, holders] : tensor.slices) {
    if (known != box) continue;
    if (holders.back() == rank) refuse(name, "the same slice is listed twice");
    holders.push_back(rank);
    return;
  }
  tensor.slices.push_back({box, {rank}});
}

}  // namespace

std::map<std::string, SharedTensor> gather_slices(comm::Communicator& ranks,
                                                  const std::vector<TensorSlice>& slices) {
  std::string mine;
  agree(ranks, "plan", [&] { mine = describe(slices); });
  std::map<std::string, SharedTensor> tensors;
  const std::vector<std::string> tables = ranks.all_gather_strings(mine);
  for (size_t rank = 0; rank < tables.size(); ++rank) {
    for (const Json& item : Json::parse(tables[rank])) add_slice(tensors, item, static_cast<int>(rank));
  }
  for (auto& [name, tensor] : tensors) {
    std::sort(tensor.slices.begin(), tensor.slices.end(),
              [](const auto& a, const auto& b) { return a.first.offset < b.first.offset; });
  }
  return tensors;
}

}  // namespace phalanx::checkpoint
