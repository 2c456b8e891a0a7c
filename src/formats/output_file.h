#pragma once
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string_view>

namespace phalanx::formats {

/// A file that is written whole or not at all: bytes go to "PATH.partial", finish() syncs and renames it.
/// Every failure is a core::Error kStorage with path and reason; the partial file is removed by the
/// destructor of whoever made it.
class OutputFile {
 public:
  /// kJoin opens the partial file that another process has made, to write a part of it.
  enum class Role { kCreate, kJoin };
  explicit OutputFile(std::filesystem::path path, Role role = Role::kCreate);
  ~OutputFile();
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  /// Sets the size and reserves the space, so that a full disk shows now. Bytes never written are zero.
  void reserve(uint64_t num_bytes);
  void write_at(uint64_t offset_bytes, std::span<const std::byte> bytes);
  void write_at(uint64_t offset_bytes, std::string_view text);
  void finish();   ///< sync(), then publish()
  void sync();     ///< what was written here is durable, and no more is
  void publish();  ///< the file gets its name; for the one that made it, when all have synced

  const std::filesystem::path& path() const { return path_; }

 private:
  [[noreturn]] void fail_with_errno(const char* what) const;

  std::filesystem::path path_, partial_;
  Role role_;
  bool is_published_ = false;
  int fd_ = -1;
};

}  // namespace phalanx::formats
