#pragma once
#include <filesystem>
#include <string>
#include <utility>

#include "core/error.h"

namespace phalanx::formats {

/// What is wrong with a file that we were given. The names are those of the table in docs/verification.md.
enum class FormatErrorKind {
  kNotRegular,  ///< a directory, FIFO or device; missing or unreadable
  kHeaderTooSmall,
  kInvalidHeader,
  kHeaderTooLarge,
  kInvalidHeaderLength,
  kInvalidUtf8,
  kInvalidJson,
  kDepth,
  kSize,  ///< longer than we are ready to hold
  kDuplicateKey,
  kDtype,
  kShape,
  kOverflow,
  kOffset,
  kOverlap,
  kIncompleteCoverage,
  kSizeMismatch,
  kMetadata,
  kIndex,  ///< the index of a sharded model, or a file that it names
  kVersion,
  kCount,
  kKey,
  kArray,
  kValue,
  kType,  ///< a value of another type than the reader asked for
  kAlignment,
  kName,
  kDims,
  kBlock,
  kTensorType,
  kData,
  kSplit,
  kNumber,
  kRange,
  kMissing,
  kUnsupported,
  kChanged,  ///< the file was written to while it was read
  kStorage,  ///< HDF5 or the operating system refused to read
};

/// An error about a file: kind, file and place, besides the one-line message.
class FormatError : public core::Error {
 public:
  static constexpr uint64_t kNowhere = ~uint64_t{0};  ///< the error has no place in the file

  FormatError(FormatErrorKind kind, std::string path, uint64_t offset, const std::string& message)
      : Error(core::ExitCode::kBadInput, message),
        kind_(kind),
        path_(std::move(path)),
        offset_bytes_(offset) {}

  FormatErrorKind kind() const { return kind_; }
  const std::string& path() const { return path_; }
  uint64_t offset_bytes() const { return offset_bytes_; }

 private:
  FormatErrorKind kind_;
  std::string path_;
  uint64_t offset_bytes_;
};

/// Throws "PATH: byte OFFSET: MESSAGE" (without the byte when `offset` is kNowhere).
[[noreturn]] void throw_format_error(FormatErrorKind kind, const std::filesystem::path& path, uint64_t offset,
                                     const std::string& message);

template <typename... Args>
[[noreturn]] void fail_at(FormatErrorKind kind, const std::filesystem::path& path, uint64_t offset,
                          fmt::format_string<Args...> format, Args&&... args) {
  throw_format_error(kind, path, offset, fmt::format(format, std::forward<Args>(args)...));
}

template <typename... Args>
[[noreturn]] void fail_in(FormatErrorKind kind, const std::filesystem::path& path,
                          fmt::format_string<Args...> format, Args&&... args) {
  throw_format_error(kind, path, FormatError::kNowhere, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace phalanx::formats
