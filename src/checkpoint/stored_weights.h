#pragma once
#include <ATen/core/Tensor.h>

#include <map>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "checkpoint/verify.h"
#include "formats/tensor_file.h"

namespace phalanx::checkpoint {

/// The newest checkpoint that `path` means (find_checkpoints) and that is whole: every byte of it has been
/// checked. Not collective.
/// @throws core::Error (65) if there is none, naming the damage of the newest.
Verdict newest_whole(const std::string& path);

/// The trained weights in a checkpoint (kWeightPrefix) as a file of tensors under the names of the model's
/// parameters, in the master dtype, whatever ranks wrote them. A tensor is read when its bytes are first
/// asked for, and kept.
class StoredWeights : public formats::TensorFile {
 public:
  explicit StoredWeights(const Verdict& whole);

  const std::vector<formats::TensorInfo>& tensors() const override { return tensors_; }
  std::span<const std::byte> bytes(const formats::TensorInfo& tensor) const override;
  void release_pages() const override;  ///< what was read is forgotten

 private:
  std::string path_;
  Manifest manifest_;
  std::vector<formats::TensorInfo> tensors_;
  mutable std::mutex mutex_;
  mutable std::map<std::string, at::Tensor> read_;
};

}  // namespace phalanx::checkpoint
