#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace phalanx::data {

/// Why there is no file of that name: patterns such as *.jsonl are taken as names.
std::string no_such_file(std::string_view path);

/// The text of a file, unpacked by its name (.gz with any number of members, .zst), through a window that its
/// reader moves. A BOM at the start is left out. @throws core::Error (65) for a file that cannot be read or
/// unpacked to its end, that unpacks to more than 200 times its size and 64 MiB, or that becomes longer or
/// shorter while it is read.
class TextStream {
 public:
  explicit TextStream(const std::string& path);
  ~TextStream();

  /// What has been read and not consumed; fill() and consume() end it.
  std::string_view window() const { return std::string_view(buffer_).substr(position_); }
  bool fill();  ///< makes the window longer; false at the end of the file
  bool at_end() const { return at_end_; }
  void consume(size_t bytes) { position_ += bytes; }
  uint64_t byte() const { return bytes_before_buffer_ + position_; }  ///< of the window in the text

 private:
  class Source;
  class PlainSource;
  class GzipSource;
  class ZstdSource;
  static std::unique_ptr<Source> open(const std::string& path);

  std::unique_ptr<Source> source_;
  std::string buffer_;
  size_t position_ = 0;
  uint64_t bytes_before_buffer_ = 0;
  bool at_end_ = false;
};

}  // namespace phalanx::data
