#pragma once
#include <memory>
#include <unordered_map>

#include "formats/safetensors.h"

namespace phalanx::formats {

constexpr uint64_t kDefaultShardBytes = 5'000'000'000;  ///< as transformers cuts

/// The weights of a Hugging Face folder: model.safetensors, or the shards of model.safetensors.index.json
/// with every tensor in exactly the file that the index names. Also takes the path of one .safetensors file.
/// Never follows a path out of the folder, except into the blobs of the Hugging Face cache that the folder
/// belongs to.
class HfWeights : public TensorFile {
 public:
  explicit HfWeights(const std::filesystem::path& path);

  const std::vector<TensorInfo>& tensors() const override { return tensors_; }
  std::span<const std::byte> bytes(const TensorInfo& tensor) const override;
  void check_unchanged() const override;
  void release_pages() const override;
  size_t num_files() const { return files_.size(); }

 private:
  void open_sharded(const std::filesystem::path& folder);
  void add_file(const std::filesystem::path& path);

  std::vector<std::unique_ptr<SafetensorsFile>> files_;
  std::vector<TensorInfo> tensors_;
  std::unordered_map<std::string, size_t> file_of_;  // tensor name -> index in files_
};

/// Writes model.safetensors, or shards of at most `max_shard_bytes` (one tensor at least) in the order of
/// `tensors`, and their index. The index comes last, so that a folder without it is visibly incomplete.
class HfWeightsWriter : public TensorWriter {
 public:
  /// @param rank  collective over its ranks, as is finish().
  HfWeightsWriter(const std::filesystem::path& folder, std::vector<TensorSpec> tensors,
                  uint64_t max_shard_bytes = kDefaultShardBytes, WriterRank rank = {});

  const std::vector<TensorSpec>& tensors() const override { return tensors_; }
  bool is_mine(std::string_view name) const override { return share_.contains(name); }
  void write(std::string_view name, std::span<const std::byte> bytes) override;
  void write_floats(std::string_view name, std::span<const float> values,
                    std::span<const float> importance = {}) override;
  void finish() override;

 private:
  SafetensorsWriter& shard_of(std::string_view name);
  void write_index() const;

  std::filesystem::path folder_;
  WriterRank rank_;
  WriterShare share_;
  std::vector<TensorSpec> tensors_;
  std::vector<std::string> file_names_;
  std::vector<std::unique_ptr<SafetensorsWriter>> shards_;
  std::unordered_map<std::string_view, size_t> shard_index_;  // tensor name -> index in shards_
};

}  // namespace phalanx::formats
