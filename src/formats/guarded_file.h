#pragma once
#include <filesystem>
#include <span>
#include <string_view>

#include "core/files.h"

namespace phalanx::formats {

/// core::MappedFile that survives truncation: if somebody shortens the file under the mapping, reading the
/// lost pages gives zeros instead of ending the process by SIGBUS, and `check_unchanged` throws, as for any
/// other change. Call it after having read.
class GuardedFile {
 public:
  explicit GuardedFile(std::filesystem::path path);
  ~GuardedFile();
  GuardedFile(const GuardedFile&) = delete;
  GuardedFile& operator=(const GuardedFile&) = delete;

  const std::filesystem::path& path() const { return path_; }
  std::span<const std::byte> bytes() const { return file_.bytes(); }
  std::string_view text() const { return file_.text(); }
  void check_unchanged() const;  ///< @throws FormatError kChanged (core::MappedFile says for what)
  void release_pages() const { file_.will_not_need(0, file_.size()); }

 private:
  std::filesystem::path path_;
  core::MappedFile file_;
  int guard_slot_;
};

}  // namespace phalanx::formats
