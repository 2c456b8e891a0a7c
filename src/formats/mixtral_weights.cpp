#include "formats/mixtral_weights.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

namespace phalanx::formats {
namespace {

constexpr std::string_view kNewBlock = ".mlp.", kGateUp = ".experts.gate_up_proj",
                           kDown = ".experts.down_proj";

bool has_new_spelling(const TensorInfo& tensor) {
  return tensor.name.find(kNewBlock) != std::string::npos;
}

std::string with_block(std::string name, const std::string& block) {
  if (const size_t at = name.find(kNewBlock); at != std::string::npos)
    name.replace(at, kNewBlock.size(), block);
  return name;
}

class CutWeights : public TensorFile {
 public:
  CutWeights(std::shared_ptr<const TensorFile> file, const ExpertNames& names)
      : file_(std::move(file)), block_(names.block) {
    for (const TensorInfo& stored : file_->tensors()) {
      const bool has_three = stored.shape.size() == 3 && stored.size_bytes > 0;
      if (has_three && stored.name.ends_with(kGateUp) && stored.shape[1] % 2 == 0) {
        add_experts(stored, kGateUp, {names.w1, names.w3});
      } else if (has_three && stored.name.ends_with(kDown)) {
        add_experts(stored, kDown, {names.w2});
      } else {
        add(stored, with_block(stored.name, block_), stored.shape, 0, stored.size_bytes);
      }
    }
  }

  const std::vector<TensorInfo>& tensors() const override { return tensors_; }
  std::span<const std::byte> bytes(const TensorInfo& tensor) const override {
    const auto& [stored, offset] = places_.at(tensor.name);
    return file_->bytes(stored).subspan(offset, tensor.size_bytes);
  }
  void check_unchanged() const override { file_->check_unchanged(); }
  void release_pages() const override { file_->release_pages(); }

 private:
  struct Place {
    TensorInfo stored;
    uint64_t offset_bytes;  // in the stored tensor
  };

  void add(const TensorInfo& stored, const std::string& name, std::vector<int64_t> shape,
           uint64_t offset_bytes, uint64_t size_bytes) {
    tensors_.push_back(
        {name, stored.dtype, std::move(shape), stored.offset_bytes + offset_bytes, size_bytes});
    // Of two tensors with one name the reader sees the second as one too many, and refuses it.
    places_.emplace(name, Place{stored, offset_bytes});
  }

  // [E, parts * rows, columns] -> E times the matrices [rows, columns] that `parts` names.
  void add_experts(const TensorInfo& stored, std::string_view suffix, const std::vector<std::string>& parts) {
    const int64_t num_experts = stored.shape[0], rows = stored.shape[1] / std::ssize(parts);
    const uint64_t part_bytes = stored.size_bytes / (num_experts * parts.size());
    const std::string block =
        with_block(stored.name.substr(0, stored.name.size() - suffix.size()) + ".", block_);
    uint64_t offset_bytes = 0;
    for (int64_t e = 0; e < num_experts; ++e) {
      for (const std::string& part : parts) {
        add(stored, fmt::format("{}experts.{}.{}.weight", block, e, part), {rows, stored.shape[2]},
            offset_bytes, part_bytes);
        offset_bytes += part_bytes;
      }
    }
  }

  std::shared_ptr<const TensorFile> file_;
  std::string block_;
  std::vector<TensorInfo> tensors_;
  std::map<std::string, Place> places_;
};

}  // namespace

std::shared_ptr<const TensorFile> expert_weights(std::shared_ptr<const TensorFile> file,
                                                 const ExpertNames& names) {
  if (std::none_of(file->tensors().begin(), file->tensors().end(), has_new_spelling)) return file;
  return std::make_shared<CutWeights>(std::move(file), names);
}

}  // namespace phalanx::formats
