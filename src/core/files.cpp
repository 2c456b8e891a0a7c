#include "core/files.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <utility>

#include "core/error.h"

namespace phalanx::core {

namespace {

std::string reason(int error_number) {
  return std::generic_category().message(error_number);
}

/// A file descriptor that is closed when it goes out of scope.
class Descriptor {
 public:
  Descriptor(const std::string& path, int flags, mode_t mode = 0)
      : fd_(::open(path.c_str(), flags | O_CLOEXEC, mode)) {}
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;

  int get() const { return fd_; }
  bool is_open() const { return fd_ >= 0; }
  bool close() { return ::close(std::exchange(fd_, -1)) == 0; }

 private:
  int fd_;
};

/// What is known of an open file. A pipe or device would block or never end: refused before reading.
struct stat require_regular(const Descriptor& file, const std::string& path) {
  if (!file.is_open()) fail(ExitCode::kBadInput, "{}: cannot be opened: {}", printable(path), reason(errno));
  struct stat status {};
  if (::fstat(file.get(), &status) != 0) fail(ExitCode::kBadInput, "{}: {}", printable(path), reason(errno));
  if (S_ISDIR(status.st_mode))
    fail(ExitCode::kBadInput, "{}: is a folder, a file is needed", printable(path));
  if (!S_ISREG(status.st_mode)) {
    fail(ExitCode::kBadInput, "{}: is not a regular file; pipes and devices are not read", printable(path));
  }
  return status;
}

void write_all(const Descriptor& file, std::string_view content, const std::string& path) {
  while (!content.empty()) {
    const ssize_t written = ::write(file.get(), content.data(), content.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) fail(ExitCode::kStorage, "{}: cannot be written: {}", printable(path), reason(errno));
    content.remove_prefix(static_cast<size_t>(written));
  }
}

void write_durably(const std::string& path, std::string_view content) {
  Descriptor file(path, O_WRONLY | O_CREAT | O_EXCL, 0666);
  if (!file.is_open()) fail(ExitCode::kStorage, "{}: cannot be created: {}", printable(path), reason(errno));
  write_all(file, content, path);
  if (::fsync(file.get()) != 0) fail(ExitCode::kStorage, "{}: fsync: {}", printable(path), reason(errno));
  if (!file.close()) fail(ExitCode::kStorage, "{}: close: {}", printable(path), reason(errno));
}

void fsync_path(const std::string& path, int flags) {
  const Descriptor file(path, O_RDONLY | flags);
  if (!file.is_open()) fail(ExitCode::kStorage, "{}: cannot be opened: {}", printable(path), reason(errno));
  if (::fsync(file.get()) != 0) fail(ExitCode::kStorage, "{}: fsync: {}", printable(path), reason(errno));
}

std::string parent_of(const std::string& path) {
  const std::filesystem::path parent = std::filesystem::path(path).parent_path();
  return parent.empty() ? "." : parent.string();
}

}  // namespace

std::string read_file(const std::string& path, uint64_t max_bytes) {
  const Descriptor file(path, O_RDONLY | O_NONBLOCK);
  const auto size = static_cast<uint64_t>(require_regular(file, path).st_size);
  if (size > max_bytes) {
    fail(ExitCode::kBadInput, "{}: has {} bytes, at most {} are allowed", printable(path), size, max_bytes);
  }
  std::string content(size, '\0');
  size_t filled = 0;
  while (filled < content.size()) {
    const ssize_t count = ::read(file.get(), content.data() + filled, content.size() - filled);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) fail(ExitCode::kBadInput, "{}: cannot be read: {}", printable(path), reason(errno));
    if (count == 0) break;
    filled += static_cast<size_t>(count);
  }
  content.resize(filled);
  return content;
}

void write_file_atomic(const std::string& path, std::string_view content) {
  const std::string temporary = fmt::format("{}.tmp.{}", path, ::getpid());
  ::unlink(temporary.c_str());  // left by a killed process of the same id
  try {
    write_durably(temporary, content);
    if (::rename(temporary.c_str(), path.c_str()) != 0) {
      fail(ExitCode::kStorage, "{}: cannot be replaced: {}", printable(path), reason(errno));
    }
  } catch (const Error&) {
    ::unlink(temporary.c_str());
    throw;
  }
  fsync_directory(parent_of(path));
}

void fsync_directory(const std::string& path) {
  fsync_path(path, O_DIRECTORY);
}
void fsync_file(const std::string& path) {
  fsync_path(path, 0);
}

void make_directories(const std::string& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (error) fail(ExitCode::kStorage, "{}: cannot be created: {}", printable(path), error.message());
}

uint64_t free_space_bytes(const std::string& path) {
  std::filesystem::path existing = std::filesystem::absolute(path);
  std::error_code ignored;
  while (!std::filesystem::exists(existing, ignored) && existing.has_relative_path())
    existing = existing.parent_path();
  struct statvfs status {};
  if (::statvfs(existing.c_str(), &status) != 0) {
    fail(ExitCode::kStorage, "{}: free space is unknown: {}", printable(path), reason(errno));
  }
  return static_cast<uint64_t>(status.f_bavail) * status.f_frsize;
}

MappedFile::MappedFile(std::string path) : path_(std::move(path)) {
  const Descriptor file(path_, O_RDONLY | O_NONBLOCK);
  const struct stat status = require_regular(file, path_);
  identity_ = identity_of(status);
  const auto size = static_cast<uint64_t>(status.st_size);
  if (size == 0) return;  // mmap refuses a length of 0
  void* const memory = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, file.get(), 0);
  if (memory == MAP_FAILED)
    fail(ExitCode::kBadInput, "{}: cannot be mapped: {}", printable(path_), reason(errno));
  data_ = static_cast<const std::byte*>(memory);
  size_ = size;
}

MappedFile::~MappedFile() {
  unmap();
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)),
      data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)),
      identity_(other.identity_) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  if (this == &other) return *this;
  unmap();
  path_ = std::move(other.path_);
  data_ = std::exchange(other.data_, nullptr);
  size_ = std::exchange(other.size_, 0);
  identity_ = other.identity_;
  return *this;
}

void MappedFile::unmap() noexcept {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
}

MappedFile::Identity MappedFile::identity_of(const struct stat& status) {
  constexpr int64_t kNanoseconds = 1'000'000'000;
  return {status.st_dev, status.st_ino, status.st_mtim.tv_sec * kNanoseconds + status.st_mtim.tv_nsec};
}

void MappedFile::check_unchanged() const {
  struct stat status {};
  if (::stat(path_.c_str(), &status) != 0) return;
  const Identity now = identity_of(status);
  if (now.device != identity_.device || now.inode != identity_.inode) return;
  const auto size = static_cast<uint64_t>(status.st_size);
  if (size != size_) {
    fail(ExitCode::kBadInput,
         "{}: went from {} to {} bytes while it was read; start again when nobody writes it",
         printable(path_), size_, size);
  }
  if (now != identity_) {
    fail(ExitCode::kBadInput, "{}: was written while it was read; start again when nobody writes it",
         printable(path_));
  }
}

namespace {

void advise(const std::byte* data, uint64_t file_size, uint64_t offset, uint64_t size, int advice) {
  if (data == nullptr || offset >= file_size) return;
  const auto page = static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
  const uint64_t start = offset / page * page;
  const uint64_t end = std::min(file_size, offset + std::min(size, file_size));
  ::madvise(const_cast<std::byte*>(data) + start, end - start,
            advice);  // advice only: a failure changes nothing
}

}  // namespace

void MappedFile::will_not_need(uint64_t offset, uint64_t size) const {
  advise(data_, size_, offset, size, MADV_DONTNEED);
}

}  // namespace phalanx::core
