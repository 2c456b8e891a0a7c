#pragma once
#include <string>

namespace phalanx::launch {

/// One process at a time works in a folder, together with the processes that it starts: the kernel gives the
/// lock back when the last of them has ended, in any way.
class FolderLock {
 public:
  /// Waits for processes that are about to end, 20 s at most. @throws core::Error: 77 if it is held then, 74.
  explicit FolderLock(const std::string& folder);
  ~FolderLock();
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

 private:
  int fd_ = -1;
};

}  // namespace phalanx::launch
