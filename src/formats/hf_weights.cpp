#include "formats/hf_weights.h"

#include <set>

#include "core/files.h"
#include "core/json.h"
#include "formats/format_error.h"

namespace phalanx::formats {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using Kind = FormatErrorKind;

constexpr std::string_view kSingleName = "model.safetensors", kIndexName = "model.safetensors.index.json";

bool is_plain_name(const std::string& name) {
  return name.ends_with(".safetensors") && name.find('/') == name.npos && name.find('\0') == name.npos;
}

/// The file really lies in `folder`, or in the blobs of the cache whose snapshot `folder` is.
bool stays_inside(const fs::path& folder, const fs::path& file) {
  if (!fs::exists(file)) return true;  // whoever opens it will say so
  const fs::path target = fs::canonical(file).parent_path(), home = fs::canonical(folder);
  const bool is_snapshot = home.parent_path().filename() == "snapshots";
  return target == home || (is_snapshot && target == home.parent_path().parent_path() / "blobs");
}

void require_inside(const fs::path& folder, const fs::path& file) {
  if (!stays_inside(folder, file))
    fail_in(Kind::kIndex, file,
            "is a link out of its folder, which is not followed; copy the file into the folder");
}

std::map<std::string, std::string> read_weight_map(const json& index, const fs::path& path) {
  if (!index.is_object() || !index.contains("weight_map") || !index["weight_map"].is_object())
    fail_in(Kind::kIndex, path, "has no object weight_map");
  std::map<std::string, std::string> map;
  for (const auto& [tensor, file] : index["weight_map"].items()) {
    if (!file.is_string() || !is_plain_name(file.get<std::string>()))
      fail_in(Kind::kIndex, path,
              "places tensor {} in {}, but only a *.safetensors file of the same folder is allowed",
              core::printable(tensor), core::printable(file.dump()));
    map.emplace(tensor, file.get<std::string>());
  }
  return map;
}

void check_total_size(const json& index, uint64_t found_bytes, const fs::path& path) {
  const auto metadata = index.find("metadata");
  if (metadata == index.end() || !metadata->is_object() || !metadata->contains("total_size")) return;
  const json& total = (*metadata)["total_size"];
  if (!total.is_number() || total.get<double>() != double(found_bytes))
    fail_in(Kind::kIndex, path, "says total_size {}, but the tensors have {} bytes",
            core::printable(total.dump()), found_bytes);
}

[[noreturn]] void fail_without_weights(const fs::path& folder) {
  for (const char* pickle : {"pytorch_model.bin", "pytorch_model.bin.index.json"})
    if (fs::exists(folder / pickle))
      fail_in(Kind::kUnsupported, folder,
              "has only {}, a pickle, which can run code and is never loaded; convert it to safetensors (in "
              "transformers: from_pretrained, then save_pretrained)",
              pickle);
  fail_in(Kind::kMissing, folder, "has neither {} nor {}", kSingleName, kIndexName);
}

/// Groups tensors in their order, so that no group exceeds the limit unless it is a single tensor.
std::vector<std::vector<TensorSpec>> into_shards(const std::vector<TensorSpec>& tensors, uint64_t max_bytes) {
  std::vector<std::vector<TensorSpec>> shards(1);
  uint64_t bytes_here = 0;
  for (const TensorSpec& tensor : tensors) {
    const uint64_t bytes = count_bytes(tensor.dtype, tensor.shape).value_or(0);
    if (!shards.back().empty() && bytes_here + bytes > max_bytes) {
      shards.emplace_back();
      bytes_here = 0;
    }
    shards.back().push_back(tensor);
    bytes_here += bytes;
  }
  return shards;
}

}  // namespace

HfWeights::HfWeights(const fs::path& path) {
  if (!fs::is_directory(path)) {
    add_file(path);
    return;
  }
  const bool has_single = fs::exists(path / kSingleName), has_index = fs::exists(path / kIndexName);
  if (has_single && has_index)
    fail_in(Kind::kIndex, path, "has both {} and {}; remove the one that is out of date", kSingleName,
            kIndexName);
  if (!has_single && !has_index) fail_without_weights(path);
  if (has_index) {
    open_sharded(path);
  } else {
    require_inside(path, path / kSingleName);
    add_file(path / kSingleName);
  }
}

void HfWeights::add_file(const fs::path& path) {
  files_.push_back(std::make_unique<SafetensorsFile>(path));
  for (const TensorInfo& tensor : files_.back()->tensors()) {
    if (!file_of_.emplace(tensor.name, files_.size() - 1).second)
      fail_in(Kind::kIndex, path, "has tensor {}, which an earlier shard has too",
              core::printable(tensor.name));
    tensors_.push_back(tensor);
  }
}

void HfWeights::open_sharded(const fs::path& folder) {
  const fs::path index_path = folder / kIndexName;
  require_inside(folder, index_path);
  const json index(core::read_json(index_path.string()));
  const std::map<std::string, std::string> weight_map = read_weight_map(index, index_path);
  std::set<std::string> names;
  for (const auto& [tensor, file] : weight_map) names.insert(file);
  uint64_t total_bytes = 0;
  for (const std::string& name : names) {
    require_inside(folder, folder / name);
    add_file(folder / name);
    for (const TensorInfo& tensor : files_.back()->tensors()) {
      const auto mapped = weight_map.find(tensor.name);
      if (mapped == weight_map.end() || mapped->second != name)
        fail_in(Kind::kIndex, index_path, "does not place tensor {} in {}, where it is",
                core::printable(tensor.name), core::printable(name));
      total_bytes += tensor.size_bytes;
    }
  }
  for (const auto& [tensor, file] : weight_map)
    if (!file_of_.contains(tensor))
      fail_in(Kind::kIndex, index_path, "places tensor {} in {}, which does not have it",
              core::printable(tensor), core::printable(file));
  check_total_size(index, total_bytes, index_path);
}

std::span<const std::byte> HfWeights::bytes(const TensorInfo& tensor) const {
  return files_.at(file_of_.at(tensor.name))->bytes(tensor);
}

void HfWeights::release_pages() const {
  for (const auto& file : files_) file->release_pages();
}

void HfWeights::check_unchanged() const {
  for (const auto& file : files_) file->check_unchanged();
}

HfWeightsWriter::HfWeightsWriter(const fs::path& folder, std::vector<TensorSpec> tensors,
                                 uint64_t max_shard_bytes, WriterRank rank)
    : folder_(folder), rank_(std::move(rank)), share_(tensors, rank_), tensors_(std::move(tensors)) {
  rank_.wait_before_opening();
  const std::vector<std::vector<TensorSpec>> shards = into_shards(tensors_, max_shard_bytes);
  for (size_t i = 0; i < shards.size(); ++i) {
    file_names_.push_back(shards.size() == 1
                              ? std::string(kSingleName)
                              : fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, shards.size()));
    shards_.push_back(std::make_unique<SafetensorsWriter>(
        folder / file_names_.back(), shards[i], std::map<std::string, std::string>{{"format", "pt"}}, share_,
        rank_.is_first() ? OutputFile::Role::kCreate : OutputFile::Role::kJoin));
    for (const TensorSpec& tensor : shards_.back()->tensors()) shard_index_.emplace(tensor.name, i);
  }
  rank_.let_others_open();
}

SafetensorsWriter& HfWeightsWriter::shard_of(std::string_view name) {
  const auto found = shard_index_.find(name);
  return *shards_[found == shard_index_.end() ? 0 : found->second];  // shard 0 reports an unknown name
}

void HfWeightsWriter::write(std::string_view name, std::span<const std::byte> bytes) {
  shard_of(name).write(name, bytes);
}

void HfWeightsWriter::write_floats(std::string_view name, std::span<const float> values,
                                   std::span<const float> importance) {
  shard_of(name).write_floats(name, values, importance);
}

void HfWeightsWriter::write_index() const {
  uint64_t total_bytes = 0, total_elements = 0;
  json weight_map = json::object();
  for (const TensorSpec& tensor : tensors_) {
    total_bytes += count_bytes(tensor.dtype, tensor.shape).value();
    total_elements += count_elements(tensor.shape).value();
    weight_map[tensor.name] = file_names_[shard_index_.at(tensor.name)];
  }
  const json index = {{"metadata", {{"total_parameters", total_elements}, {"total_size", total_bytes}}},
                      {"weight_map", weight_map}};
  core::write_file_atomic((folder_ / kIndexName).string(), index.dump(2) + "\n");
}

void HfWeightsWriter::finish() {
  for (const auto& shard : shards_) shard->sync();
  rank_.barrier();
  if (rank_.is_first()) {
    for (const auto& shard : shards_) shard->publish();
    if (shards_.size() > 1) write_index();
  }
  rank_.barrier();
}

}  // namespace phalanx::formats
