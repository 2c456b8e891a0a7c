#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace phalanx::label {

/// A file of lines that only grows, and in which a line is whole and durable or not there. One process holds
/// it at a time (flock, which the kernel releases when the process ends in any way).
class DurableLines {
 public:
  /// Opens or creates the file, takes the lock and reads it. What follows the last line end was being written
  /// when the process ended and was never confirmed: it is cut off.
  /// @throws core::Error: 77 if another process holds it, 74 if it cannot be opened or read.
  explicit DurableLines(std::string path);
  ~DurableLines();
  DurableLines(const DurableLines&) = delete;
  DurableLines& operator=(const DurableLines&) = delete;

  const std::string& path() const { return path_; }
  /// What the file held; to be called once.
  std::vector<std::string> take_lines() { return std::move(lines_); }
  uint64_t bytes_cut_at_start() const { return bytes_cut_; }

  /// Adds one line and waits until it is on the disk. If it cannot be, the file is as before.
  /// @throws core::Error (74); after a failed fsync, or if the file could not be restored, for every later
  /// line, too: what the disk holds is not known then.
  void append(std::string_view line);
  /// Takes the line of the last append back.
  void take_back();

 private:
  void read_lines();
  void cut_to(uint64_t size);
  std::string path_;
  int fd_ = -1;
  uint64_t size_ = 0, size_before_ = 0, bytes_cut_ = 0;
  bool is_broken_ = false;
  std::vector<std::string> lines_;
};

}  // namespace phalanx::label
