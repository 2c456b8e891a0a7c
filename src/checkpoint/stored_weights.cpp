#include "checkpoint/stored_weights.h"

#include "checkpoint/load.h"
#include "checkpoint/state.h"
#include "comm/communicator.h"
#include "core/error.h"

namespace phalanx::checkpoint {

Verdict newest_whole(const std::string& path) {
  const auto single = comm::make_single_communicator();
  std::string first_problem;
  for (const std::string& checkpoint : find_checkpoints(path)) {
    Verdict verdict = verify_checkpoint(*single, checkpoint);
    if (verdict.ok()) return verdict;
    if (first_problem.empty()) first_problem = verdict.problems.front();
  }
  core::fail(core::ExitCode::kBadInput, "{}", first_problem);
}

StoredWeights::StoredWeights(const Verdict& whole) : path_(whole.path), manifest_(whole.manifest.value()) {
  for (const TensorEntry& stored : manifest_.tensors) {
    if (!stored.name.starts_with(kWeightPrefix)) continue;
    const auto elements = static_cast<uint64_t>(checkpoint::whole(stored.shape).num_elements());
    tensors_.push_back({stored.name.substr(kWeightPrefix.size()), stored.dtype, stored.shape,
                        /*offset_bytes=*/0, elements * core::block_bytes(stored.dtype)});
  }
}

std::span<const std::byte> StoredWeights::bytes(const formats::TensorInfo& tensor) const {
  const std::lock_guard lock(mutex_);
  at::Tensor& values = read_[tensor.name];
  if (!values.defined()) values = load_tensor(path_, manifest_, std::string(kWeightPrefix) + tensor.name);
  return {static_cast<const std::byte*>(values.const_data_ptr()), tensor.size_bytes};
}

void StoredWeights::release_pages() const {
  const std::lock_guard lock(mutex_);
  read_.clear();
}

}  // namespace phalanx::checkpoint
