#include "formats/output_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "core/error.h"
#include "core/files.h"

namespace phalanx::formats {

OutputFile::OutputFile(std::filesystem::path path, Role role)
    : path_(std::move(path)), partial_(path_.string() + ".partial"), role_(role) {
  const int making = role == Role::kCreate ? O_CREAT | O_TRUNC : 0;
  fd_ = ::open(partial_.c_str(), O_WRONLY | making | O_CLOEXEC | O_NOFOLLOW, 0666);
  if (fd_ < 0) fail_with_errno("cannot be created");
}

OutputFile::~OutputFile() {
  if (fd_ >= 0) ::close(fd_);
  if (role_ == Role::kCreate && !is_published_) ::unlink(partial_.c_str());
}

void OutputFile::fail_with_errno(const char* what) const {
  core::fail(core::ExitCode::kStorage, "{}: {}: {}", core::printable(path_.string(), 400), what,
             std::strerror(errno));
}

void OutputFile::reserve(uint64_t num_bytes) {
  if (::ftruncate(fd_, off_t(num_bytes)) != 0) fail_with_errno("cannot be resized");
  if (num_bytes > 0 && ::fallocate(fd_, FALLOC_FL_KEEP_SIZE, 0, off_t(num_bytes)) != 0 && errno != EOPNOTSUPP)
    fail_with_errno("has no space");
}

void OutputFile::write_at(uint64_t offset_bytes, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t written =
        ::pwrite(fd_, bytes.data(), std::min<size_t>(bytes.size(), 1 << 30), off_t(offset_bytes));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) fail_with_errno("cannot be written");
    bytes = bytes.subspan(size_t(written));
    offset_bytes += uint64_t(written);
  }
}

void OutputFile::write_at(uint64_t offset_bytes, std::string_view text) {
  write_at(offset_bytes, std::as_bytes(std::span(text)));
}

void OutputFile::finish() {
  sync();
  publish();
}

void OutputFile::sync() {
  if (::fsync(fd_) != 0) fail_with_errno("cannot be made durable");
  const int fd = std::exchange(fd_, -1);
  if (::close(fd) != 0) fail_with_errno("cannot be closed");
}

void OutputFile::publish() {
  if (::rename(partial_.c_str(), path_.c_str()) != 0) fail_with_errno("cannot be put in place");
  is_published_ = true;
  core::fsync_directory(path_.has_parent_path() ? path_.parent_path().string() : ".");
}

}  // namespace phalanx::formats
