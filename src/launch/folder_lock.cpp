#include "launch/folder_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <chrono>
#include <thread>

#include "core/error.h"
#include "core/log.h"

namespace phalanx::launch {
namespace {

constexpr int kAttempts = 200;
constexpr auto kPause = std::chrono::milliseconds(100);

}  // namespace

FolderLock::FolderLock(const std::string& folder) {
  const std::string path = folder + "/LOCK";
  fd_ = ::open(path.c_str(), O_RDWR | O_CREAT, 0666);  // kept open by what is started
  if (fd_ < 0) core::fail(core::ExitCode::kStorage, "{}: cannot be opened", core::printable(path));
  for (int attempt = 0; ::flock(fd_, LOCK_EX | LOCK_NB) != 0; ++attempt) {
    if (attempt == kAttempts) {
      ::close(fd_);
      core::fail(
          core::ExitCode::kSuperseded,
          "{}: another process works in this folder; wait for it, or choose another pipeline.output_dir",
          core::printable(folder));
    }
    if (attempt == 0) core::log_note("{}: waiting for another process to end", folder);
    std::this_thread::sleep_for(kPause);
  }
}

FolderLock::~FolderLock() {
  ::close(fd_);
}

}  // namespace phalanx::launch
