#pragma once
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/box.h"
#include "checkpoint/digest.h"
#include "core/dtype.h"

namespace phalanx::checkpoint {

inline constexpr std::string_view kManifestName = "MANIFEST.json";
inline constexpr std::string_view kIndexName = "index.h5";

/// A part of a tensor: little-endian, row-major, at one place of one file.
struct Piece {
  Box box;
  std::string file;
  uint64_t offset_bytes = 0;
  Digest digest;  ///< of its bytes, as they were in memory before the write

  uint64_t size_bytes(core::DType dtype) const;
};

struct TensorEntry {
  std::string name;
  core::DType dtype = core::DType::kF32;
  std::vector<int64_t> shape;
  std::vector<Piece> pieces;  ///< a partition of the tensor
};

struct FileEntry {
  std::string name;  ///< plain name inside the folder
  uint64_t size_bytes = 0;
  std::vector<Digest> blocks;  ///< see digest.h
};

/// Everything about one checkpoint except the bytes of its tensors. Written last: what it does not list does
/// not exist.
struct Manifest {
  int64_t step = 0;
  int64_t incarnation = 0;  ///< which life of the run wrote it
  int64_t num_ranks = 0;
  nlohmann::ordered_json environment;  ///< versions, thread count, CPU capability at the time of writing
  nlohmann::ordered_json scalars;
  std::vector<FileEntry> files;      ///< sorted by name; all files but the manifest itself
  std::vector<TensorEntry> tensors;  ///< sorted by name

  const TensorEntry* find(std::string_view name) const;
  const FileEntry* find_file(std::string_view name) const;
  uint64_t tensor_bytes() const;
};

/// JSON with one line per file and tensor; the last line holds the digest of all the bytes before it.
std::string to_text(const Manifest& manifest);

/// Checks the digest first and every value after it, before anything is allocated by it.
/// @throws core::Error (65) with `path` and what is wrong.
Manifest parse_manifest(std::string_view text, const std::string& path);

}  // namespace phalanx::checkpoint
