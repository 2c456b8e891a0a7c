#include "checkpoint/storage.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>

namespace phalanx::checkpoint {

namespace {

[[noreturn]] void raise(const std::string& path, std::string_view call) {
  throw StorageError(path, call, errno);
}

int open_flags(File::Mode mode) {
  switch (mode) {
    case File::Mode::kRead:
      return O_RDONLY | O_NOFOLLOW;
    case File::Mode::kWriteExisting:
      return O_RDWR | O_NOFOLLOW;
    case File::Mode::kCreateNew:
      return O_RDWR | O_CREAT | O_EXCL;
  }
  return O_RDONLY;
}

int open_or_raise(const std::string& path, int flags) {
  const int descriptor = ::open(path.c_str(), flags | O_CLOEXEC, 0666);
  if (descriptor < 0) raise(path, "open");
  return descriptor;
}

}  // namespace

StorageError::StorageError(std::string path, std::string_view call, int error)
    : std::runtime_error(fmt::format("{}: {} failed: {}", path, call, std::strerror(error))),
      path_(std::move(path)),
      error_(error) {}

File::File(const std::string& path, Mode mode)
    : path_(path), descriptor_(open_or_raise(path, open_flags(mode))) {}

File::~File() {
  ::close(descriptor_);
}

void File::read_at(uint64_t offset, void* buffer, size_t size_bytes) const {
  auto* place = static_cast<std::byte*>(buffer);
  while (size_bytes > 0) {
    const ssize_t count = ::pread(descriptor_, place, size_bytes, static_cast<off_t>(offset));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) raise(path_, "read");
    if (count == 0)
      throw StorageError(path_, fmt::format("read at byte {} (the file ends there)", offset), EIO);
    place += count;
    offset += static_cast<uint64_t>(count);
    size_bytes -= static_cast<size_t>(count);
  }
}

void File::write_at(uint64_t offset, const void* data, size_t size_bytes) {
  const auto* place = static_cast<const std::byte*>(data);
  while (size_bytes > 0) {
    const ssize_t count = ::pwrite(descriptor_, place, size_bytes, static_cast<off_t>(offset));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) raise(path_, "write");
    place += count;
    offset += static_cast<uint64_t>(count);
    size_bytes -= static_cast<size_t>(count);
  }
}

void File::reserve(uint64_t size_bytes) {
  if (size_bytes == 0) return;
  int result = 0;
  do {
    result = ::fallocate(descriptor_, FALLOC_FL_KEEP_SIZE, 0, static_cast<off_t>(size_bytes));
  } while (result != 0 && errno == EINTR);
  if (result != 0 && errno != EOPNOTSUPP && errno != ENOSYS) raise(path_, "fallocate");
}

void File::start_writeback(uint64_t offset, uint64_t size_bytes) noexcept {
  ::sync_file_range(descriptor_, static_cast<off_t>(offset), static_cast<off_t>(size_bytes),
                    SYNC_FILE_RANGE_WRITE);
}

void File::sync() {
  if (::fsync(descriptor_) != 0) raise(path_, "fsync");
}

uint64_t File::size_bytes() const {
  struct stat status {};
  if (::fstat(descriptor_, &status) != 0) raise(path_, "fstat");
  return static_cast<uint64_t>(status.st_size);
}

Space space_at(const std::string& folder) {
  struct statvfs status {};
  if (::statvfs(folder.c_str(), &status) != 0) raise(folder, "statvfs");
  return {.free_bytes = uint64_t{status.f_bavail} * status.f_frsize,
          .free_inodes = status.f_files == 0 ? UINT64_MAX : uint64_t{status.f_favail}};
}

std::vector<Entry> list(const std::string& folder) {
  std::error_code error;
  std::vector<Entry> entries;
  for (auto it = std::filesystem::directory_iterator(folder, error); !error && it != std::filesystem::end(it);
       it.increment(error)) {
    const auto status = it->symlink_status(error);
    entries.push_back({.name = it->path().filename().string(),
                       .is_regular_file = std::filesystem::is_regular_file(status),
                       .is_folder = std::filesystem::is_directory(status)});
  }
  if (error) throw StorageError(folder, "reading the folder", error.value());
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) { return a.name < b.name; });
  return entries;
}

bool exists(const std::string& path) {
  struct stat status {};
  return ::lstat(path.c_str(), &status) == 0;
}

void make_folder(const std::string& path) {
  if (::mkdir(path.c_str(), 0777) != 0) raise(path, "mkdir");
}

void make_folders(const std::string& path) {
  if (path.empty() || exists(path)) return;
  const std::string parent = std::filesystem::path(path).parent_path().string();
  make_folders(parent);
  if (::mkdir(path.c_str(), 0777) != 0 && errno != EEXIST) raise(path, "mkdir");
  sync_folder(parent.empty() ? "." : parent);
}

void sync_folder(const std::string& path) {
  const int descriptor = open_or_raise(path, O_RDONLY | O_DIRECTORY);
  const int result = ::fsync(descriptor);
  const int error = errno;
  ::close(descriptor);
  if (result != 0) throw StorageError(path, "fsync", error);
}

void rename_new(const std::string& from, const std::string& to) {
  if (::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_NOREPLACE) == 0) return;
  if (errno != EINVAL && errno != ENOSYS) raise(to, "rename");
  // A file system without RENAME_NOREPLACE. Only the holder of the lease renames, so looking first is enough.
  if (exists(to)) throw StorageError(to, "rename", EEXIST);
  rename_over(from, to);
}

void rename_over(const std::string& from, const std::string& to) {
  if (::rename(from.c_str(), to.c_str()) != 0) raise(to, "rename");
}

void remove_file(const std::string& path) {
  if (::unlink(path.c_str()) != 0) raise(path, "unlink");
}

bool remove_tree(const std::string& path) noexcept {
  std::error_code error;
  std::filesystem::remove_all(path, error);
  return !error;
}

void write_new_file(const std::string& path, std::string_view text) {
  File file(path, File::Mode::kCreateNew);
  file.write_at(0, text.data(), text.size());
  file.sync();
}

std::string read_whole_file(const std::string& path, uint64_t max_bytes) {
  const File file(path, File::Mode::kRead);
  const uint64_t size_bytes = file.size_bytes();
  if (size_bytes > max_bytes)
    throw StorageError(path, fmt::format("reading its {} bytes", size_bytes), EFBIG);
  std::string text(size_bytes, '\0');
  file.read_at(0, text.data(), text.size());
  return text;
}

}  // namespace phalanx::checkpoint
