#pragma once
#include <cstdint>
#include <map>
#include <string>

namespace phalanx::pipeline {

/// What a file was when it was hashed. A file whose other fields are as they were has not been written since
/// (nothing but the kernel sets the time of change, ctime) and is not read again.
struct FileStamp {
  uint64_t size = 0, inode = 0;
  int64_t modified_ns = 0, changed_ns = 0;
  std::string hash = {};  ///< XXH3-128 of all of it

  bool operator==(const FileStamp& other) const { return hash == other.hash; }  ///< the same content
  bool is_same_file(const FileStamp& other) const {
    return size == other.size && inode == other.inode && modified_ns == other.modified_ns &&
           changed_ns == other.changed_ns;
  }
};

using FileStamps = std::map<std::string, FileStamp>;  ///< by path

/// Stamps of the file `path`, or of every file in the folder `path` and in those below it; of a run of
/// training only its final/ counts. None if nothing is there.
/// @param known  stamps from before: what they still fit is not read. @throws core::Error (65) for a file
/// that cannot be read.
FileStamps stamp_files(const std::string& path, const FileStamps& known);

}  // namespace phalanx::pipeline
