#include "pipeline/file_stamp.h"

#include <sys/stat.h>

#include <filesystem>

#include "core/error.h"
#include "core/hash.h"

namespace phalanx::pipeline {
namespace {

namespace fs = std::filesystem;

int64_t nanoseconds(const timespec& time) {
  return static_cast<int64_t>(time.tv_sec) * 1'000'000'000 + time.tv_nsec;
}

FileStamp stamp(const std::string& path, const FileStamps& known) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0)
    core::fail(core::ExitCode::kBadInput, "{}: cannot be read", core::printable(path));
  FileStamp made{.size = static_cast<uint64_t>(status.st_size),
                 .inode = static_cast<uint64_t>(status.st_ino),
                 .modified_ns = nanoseconds(status.st_mtim),
                 .changed_ns = nanoseconds(status.st_ctim),
                 .hash = {}};
  const auto before = known.find(path);
  const bool is_known = before != known.end() && before->second.is_same_file(made);
  made.hash = is_known ? before->second.hash : core::hash_file(path).hex();
  return made;
}

}  // namespace

FileStamps stamp_files(const std::string& path, const FileStamps& known) {
  FileStamps stamps;
  const fs::path final_model = fs::path(path) / "final";
  const fs::path root = fs::is_directory(final_model) ? final_model : fs::path(path);
  if (fs::is_regular_file(root)) stamps[path] = stamp(path, known);
  if (!fs::is_directory(root)) return stamps;
  for (const fs::directory_entry& entry :
       fs::recursive_directory_iterator(root, fs::directory_options::follow_directory_symlink)) {
    const std::string file = entry.path().string();
    if (entry.is_regular_file()) stamps[file] = stamp(file, known);
  }
  return stamps;
}

}  // namespace phalanx::pipeline
