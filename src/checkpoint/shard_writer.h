#pragma once
#include <memory>
#include <string>
#include <vector>

#include "checkpoint/digest.h"
#include "checkpoint/manifest.h"
#include "checkpoint/storage.h"
#include "checkpoint/write_plan.h"

namespace phalanx::checkpoint {

/// One rank's shard file, written in three steps. A step that throws leaves the file to be thrown away; none
/// is repeated.
class ShardWriter {
 public:
  ShardWriter(std::string folder, const WritePlan& plan, const State& state, int rank);

  void reserve();  ///< creates the file and takes the disk space for all of it
  void write();    ///< digests each piece, refuses NaN and infinity (core::Error 76), writes
  void
  sync_and_check();  ///< fsync, while the file is read back: its blocks are digested, its tensors compared

  /// What goes into the manifest; valid after sync_and_check().
  const FileEntry& file() const { return file_; }
  struct Written {
    size_t piece;  ///< index in WritePlan::pieces
    uint64_t offset_bytes;
    Digest digest;
  };
  const std::vector<Written>& pieces() const { return pieces_; }

 private:
  void write_piece(Written& written);
  void check_blocks();

  std::string path_;
  const WritePlan& plan_;
  SliceIndex slices_;
  FileEntry file_;
  std::vector<Written> pieces_;
  std::unique_ptr<File> descriptor_;
};

std::string shard_name(int rank);  ///< "shard_3.h5"

/// The digest of a piece as this rank has it in memory.
Digest digest_in_memory(const TensorSlice& slice, const Box& box);

}  // namespace phalanx::checkpoint
