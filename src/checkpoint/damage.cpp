#include "checkpoint/damage.h"

#include <fmt/core.h>

#include <algorithm>

#include "checkpoint/folder.h"
#include "checkpoint/storage.h"
#include "core/error.h"

namespace phalanx::checkpoint {

namespace {

struct Place {
  const TensorEntry* tensor;
  const Piece* piece;
  uint64_t from, to;  // bytes of the file
};

std::vector<Place> pieces_in(const Manifest& manifest, const FileEntry& file, uint64_t from, uint64_t to) {
  std::vector<Place> places;
  for (const TensorEntry& tensor : manifest.tensors) {
    for (const Piece& piece : tensor.pieces) {
      const uint64_t end = piece.offset_bytes + piece.size_bytes(tensor.dtype);
      if (piece.file != file.name || end <= from || piece.offset_bytes >= to) continue;
      places.push_back({&tensor, &piece, piece.offset_bytes, end});
    }
  }
  return places;
}

bool is_changed(const File& file, const Place& place) {
  std::vector<std::byte> buffer(kBlockBytes);
  DigestStream digest;
  for (uint64_t begin = place.from; begin < place.to; begin += kBlockBytes) {
    const uint64_t size_bytes = std::min(kBlockBytes, place.to - begin);
    file.read_at(begin, buffer.data(), size_bytes);
    digest.update(buffer.data(), size_bytes);
  }
  return digest.finish() != place.piece->digest;
}

std::string tensor_text(const Place& place) {
  const bool is_part = place.piece->box != whole(place.tensor->shape);
  return core::printable(place.tensor->name) + (is_part ? " " + to_string(place.piece->box) : "");
}

std::string changed_tensors(const std::string& path, const std::vector<Place>& places, uint64_t from,
                            uint64_t to) {
  std::string text;
  try {
    const File file(path, File::Mode::kRead);
    for (const Place& place : places) {
      if (!is_changed(file, place)) continue;
      text += fmt::format("{}tensor {} (bytes {} to {})", text.empty() ? "" : ", ", tensor_text(place),
                          std::max(from, place.from), std::min(to, place.to) - 1);
    }
  } catch (const StorageError&) {
    for (const Place& place : places)
      text += fmt::format("{}tensor {}", text.empty() ? "" : ", ", tensor_text(place));
  }
  return text.empty() ? "no tensor's values, but the structure of the file" : text;
}

}  // namespace

std::vector<std::string> describe_damage(const std::string& folder, const Manifest& manifest,
                                         const std::vector<BadBlock>& blocks) {
  std::vector<std::string> problems;
  for (const BadBlock& bad : blocks) {
    const FileEntry& file = manifest.files[bad.file];
    const std::string path = join(folder, file.name);
    const uint64_t from = bad.block * kBlockBytes;
    const uint64_t to = std::min(from + kBlockBytes, file.size_bytes);
    const std::string what = bad.read_error.empty() ? "not the bytes that were written" : bad.read_error;
    const std::string tensors = file.name == kIndexName
                                    ? std::string("the index of tensors")
                                    : changed_tensors(path, pieces_in(manifest, file, from, to), from, to);
    problems.push_back(
        fmt::format("{}: damaged in bytes {} to {} ({}); this hits {}", path, from, to - 1, what, tensors));
  }
  return problems;
}

}  // namespace phalanx::checkpoint
