#pragma once
#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

/// The file-system calls of a checkpoint, each with its one check. Every name that starts a path is used as
/// it is given.
namespace phalanx::checkpoint {

/// A system call said no. what() is "PATH: CALL failed: REASON".
class StorageError : public std::runtime_error {
 public:
  StorageError(std::string path, std::string_view call, int error);
  int error() const { return error_; }  ///< errno
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  int error_;
};

/// An open file descriptor, closed by the destructor. A failed file is abandoned that way: nothing is retried
/// on it.
class File {
 public:
  enum class Mode { kRead, kWriteExisting, kCreateNew };  ///< kCreateNew fails if the name is taken
  File(const std::string& path, Mode mode);
  ~File();
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  void read_at(uint64_t offset, void* buffer,
               size_t size_bytes) const;  ///< throws at a premature end as well
  void write_at(uint64_t offset, const void* data, size_t size_bytes);
  /// Takes the blocks for [0, size_bytes) without changing the file's size, where the file system can.
  void reserve(uint64_t size_bytes);
  /// Asks the kernel to begin writing this range to the disk now, so that sync() has less left to wait for.
  void start_writeback(uint64_t offset, uint64_t size_bytes) noexcept;
  void sync();
  uint64_t size_bytes() const;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  int descriptor_;
};

struct Space {
  uint64_t free_bytes;
  uint64_t free_inodes;  ///< UINT64_MAX where the file system has no fixed number
};
Space space_at(const std::string& folder);

struct Entry {
  std::string name;
  bool is_regular_file;  ///< a link is neither
  bool is_folder;
};
std::vector<Entry> list(const std::string& folder);  ///< sorted by name

bool exists(const std::string& path);
void make_folder(const std::string& path);   ///< fails if it exists
void make_folders(const std::string& path);  ///< with parents; each new one is synced into its parent
void sync_folder(const std::string& path);
/// The commit: fails with EEXIST if `to` exists, whatever it is.
void rename_new(const std::string& from, const std::string& to);
void rename_over(const std::string& from, const std::string& to);
void remove_file(const std::string& path);
/// Removes a folder of a checkpoint and all in it, without following links. False if something is left.
bool remove_tree(const std::string& path) noexcept;

void write_new_file(const std::string& path, std::string_view text);  ///< create, write, sync
std::string read_whole_file(const std::string& path, uint64_t max_bytes);

}  // namespace phalanx::checkpoint
