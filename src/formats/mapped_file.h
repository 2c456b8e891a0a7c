#pragma once
#include <atomic>
#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>
#include <string_view>

namespace phalanx::formats {

/// A regular file, mapped read-only. Opening never blocks (a FIFO is refused, not waited for).
///
/// If somebody truncates the file under the mapping, reading the lost pages gives zeros instead of killing the process
/// by SIGBUS; `check_unchanged` then throws. Call it after having read.
class MappedFile {
 public:
  explicit MappedFile(std::filesystem::path path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const std::filesystem::path& path() const { return path_; }
  std::span<const std::byte> bytes() const { return bytes_; }
  std::string_view text() const { return {reinterpret_cast<const char*>(bytes_.data()), bytes_.size()}; }
  void check_unchanged() const;  ///< @throws FormatError kChanged

 private:
  std::filesystem::path path_;
  std::span<const std::byte> bytes_;
  int guard_slot_ = -1;
};

}  // namespace phalanx::formats
