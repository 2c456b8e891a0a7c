#include "label/durable_lines.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <system_error>

#include "core/error.h"
#include "core/files.h"

namespace phalanx::label {
namespace {

template <typename... Args>
[[noreturn]] void storage_error(fmt::format_string<Args...> format, Args&&... args) {
  core::fail(core::ExitCode::kStorage, format, std::forward<Args>(args)...);
}

std::string system_reason(int error) {
  return std::generic_category().message(error);
}

}  // namespace

DurableLines::DurableLines(std::string path) : path_(std::move(path)) {
  fd_ = ::open(path_.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NONBLOCK, 0644);
  if (fd_ < 0) {
    storage_error("{}: cannot be opened for writing: {}; its folder must exist and be writable",
                  core::printable(path_), system_reason(errno));
  }
  try {
    if (::flock(fd_, LOCK_EX | LOCK_NB) != 0) {
      core::fail(
          core::ExitCode::kSuperseded,
          "{}: another process writes to it; several labellers share one process, or name another --out",
          core::printable(path_));
    }
    read_lines();
    const std::string folder = std::filesystem::path(path_).parent_path().string();
    core::fsync_directory(folder.empty() ? "." : folder);
  } catch (...) {
    ::close(fd_);
    throw;
  }
}

DurableLines::~DurableLines() {
  ::close(fd_);
}

void DurableLines::read_lines() {
  const std::string content = core::read_file(path_, uint64_t{4} << 30);
  size_t begin = 0;
  for (size_t end = content.find('\n'); end != std::string::npos; end = content.find('\n', begin)) {
    lines_.push_back(content.substr(begin, end - begin));
    begin = end + 1;
  }
  size_ = begin;
  bytes_cut_ = content.size() - begin;
  if (bytes_cut_ > 0) cut_to(begin);
}

void DurableLines::cut_to(uint64_t size) {
  if (::ftruncate(fd_, static_cast<off_t>(size)) == 0 && ::fsync(fd_) == 0) return;
  is_broken_ = true;
  storage_error("{}: cannot be cut back to its last whole line: {}; end the program and look at the disk",
                core::printable(path_), system_reason(errno));
}

void DurableLines::append(std::string_view line) {
  if (is_broken_) {
    storage_error(
        "{}: an earlier write failed in a way that leaves it unknown; end the program and start again",
        core::printable(path_));
  }
  const std::string text = std::string(line) + "\n";
  size_t done = 0;
  int error = 0;
  while (done < text.size() && error == 0) {
    const ssize_t count = ::write(fd_, text.data() + done, text.size() - done);
    if (count > 0) done += static_cast<size_t>(count);
    if (count <= 0 && errno != EINTR) error = count == 0 ? ENOSPC : errno;
  }
  if (error == 0 && ::fsync(fd_) != 0) {
    error = errno;
    is_broken_ = true;  // the kernel may have dropped the pages: it is not tried again
  }
  if (error != 0) {
    cut_to(size_);
    storage_error("{}: the answer could not be saved: {}; make room on the disk and answer again",
                  core::printable(path_), system_reason(error));
  }
  size_before_ = size_;
  size_ += text.size();
}

void DurableLines::take_back() {
  cut_to(size_before_);
  size_ = size_before_;
}

}  // namespace phalanx::label
