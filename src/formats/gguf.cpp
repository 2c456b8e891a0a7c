#include "formats/gguf.h"

#include "formats/format_error.h"

namespace phalanx::formats {
namespace {

using Kind = FormatErrorKind;
constexpr int64_t kMaxShards = 9999;

/// "NAME-00001-of-00003.gguf" with another number; nothing if `path` is not spelled like the first of
/// `count`.
std::optional<std::filesystem::path> shard_path(const std::filesystem::path& path, int64_t number,
                                                int64_t count) {
  const std::string first = fmt::format("-00001-of-{:05}.gguf", count);
  const std::string name = path.filename().string();
  if (!name.ends_with(first)) return std::nullopt;
  const std::string stem = name.substr(0, name.size() - first.size());
  return path.parent_path() / fmt::format("{}-{:05}-of-{:05}.gguf", stem, number, count);
}

}  // namespace

GgufFile::GgufFile(const std::filesystem::path& path) {
  open_part(path);
  open_other_shards(path);
}

void GgufFile::open_part(const std::filesystem::path& path) {
  auto file = std::make_unique<GuardedFile>(path);
  GgufHeader header = parse_gguf_header(*file);
  if (header.unused_bytes > 0)
    notices_.push_back(fmt::format("{}: {} bytes follow the last tensor and are not read", path.string(),
                                   header.unused_bytes));
  for (const TensorInfo& tensor : header.tensors) {
    if (!part_of_.emplace(tensor.name, parts_.size()).second)
      fail_in(Kind::kSplit, path, "tensor {} is in an earlier shard too", core::printable(tensor.name));
    tensors_.push_back(tensor);
  }
  parts_.push_back({std::move(file), std::move(header)});
}

void GgufFile::open_other_shards(const std::filesystem::path& path) {
  const GgufMetadata& first = metadata();
  const int64_t count = first.find_integer("split.count").value_or(1);
  const int64_t number = first.find_integer("split.no").value_or(0);
  if (count < 1 || count > kMaxShards || number < 0 || number >= count)
    fail_in(Kind::kSplit, path, "is shard {} of {}; 1 to {} shards are allowed", number, count, kMaxShards);
  if (count == 1) return;
  if (number != 0) fail_in(Kind::kSplit, path, "is shard {} of {}; give the first one", number + 1, count);
  const int64_t num_tensors = first.integer("split.tensors.count");
  for (int64_t other = 1; other < count; ++other) {
    const auto next = shard_path(path, other + 1, count);
    if (!next)
      fail_in(Kind::kSplit, path, "has {} shards, so its name must end in -00001-of-{:05}.gguf", count,
              count);
    open_part(*next);
    const GgufMetadata& metadata = parts_.back().header.metadata;
    if (metadata.integer("split.no") != other || metadata.integer("split.count") != count)
      fail_in(Kind::kSplit, *next,
              "says that it is shard {} of {}, but stands in the place of shard {} of {}",
              metadata.integer("split.no"), metadata.integer("split.count"), other, count);
  }
  if (int64_t(tensors_.size()) != num_tensors)
    fail_in(Kind::kSplit, path, "says {} tensors, but its {} shards have {}", num_tensors, count,
            tensors_.size());
}

std::span<const std::byte> GgufFile::bytes(const TensorInfo& tensor) const {
  const Part& part = parts_.at(part_of_.at(tensor.name));
  return part.file->bytes().subspan(tensor.offset_bytes, tensor.size_bytes);
}

void GgufFile::release_pages() const {
  for (const Part& part : parts_) part.file->release_pages();
}

void GgufFile::check_unchanged() const {
  for (const Part& part : parts_) part.file->check_unchanged();
}

}  // namespace phalanx::formats
