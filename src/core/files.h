#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

struct stat;

namespace phalanx::core {

/// The whole of a regular file. @throws Error (kBadInput) naming the path if it is missing, not a regular
/// file, unreadable or larger than max_bytes.
std::string read_file(const std::string& path, uint64_t max_bytes);

/// Replaces `path` by `content` so that a reader, or a crash at any instant, sees the old file or the new one
/// and never a part: temporary file beside it, fsync, rename, fsync of the directory. @throws Error
/// (kStorage); the temporary file is removed.
void write_file_atomic(const std::string& path, std::string_view content);

/// Makes the entries of a directory (creations, renames, removals) durable. @throws Error (kStorage).
void fsync_directory(const std::string& path);
/// Makes the content of a file durable. @throws Error (kStorage).
void fsync_file(const std::string& path);

/// Creates the directory and its parents. @throws Error (kStorage).
void make_directories(const std::string& path);

/// Bytes that an unprivileged process may still write in the file system of `path` (of its nearest existing
/// parent).
uint64_t free_space_bytes(const std::string& path);

/// A regular file mapped read-only; the mapping ends with the object. Movable. An empty file has an empty
/// span. Another process that truncates the file turns a later access into SIGBUS, as with any mapping
/// (formats/guarded_file.h survives it).
class MappedFile {
 public:
  /// @throws Error (kBadInput) if the path is missing, not a regular file (a symbolic link to one is fine) or
  /// unreadable.
  explicit MappedFile(std::string path);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const std::string& path() const { return path_; }
  std::span<const std::byte> bytes() const { return {data_, size_}; }
  std::string_view text() const { return {reinterpret_cast<const char*>(data_), size_}; }
  uint64_t size() const { return size_; }

  /// @throws Error (kBadInput) if the file was written to, shortened or lengthened since it was mapped. One
  /// that was removed, or replaced by another of its name, is still whole in the mapping.
  void check_unchanged() const;
  void will_not_need(uint64_t offset, uint64_t size) const;  ///< the pages may be dropped from memory

 private:
  void unmap() noexcept;
  std::string path_;
  const std::byte* data_ = nullptr;
  uint64_t size_ = 0;
  struct Identity {
    uint64_t device = 0, inode = 0;
    int64_t modified_ns = 0;
    bool operator==(const Identity&) const = default;
  };
  static Identity identity_of(const struct stat& status);
  Identity identity_;
};

}  // namespace phalanx::core
