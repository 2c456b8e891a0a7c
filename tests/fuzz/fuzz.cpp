#include "fuzz/fuzz.h"

#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "core/error.h"

namespace phalanx::fuzz {
namespace {

/// In memory where the system has such a folder: a target writes its file a thousand times a second.
class FuzzFolder {
 public:
  FuzzFolder() {
    const std::string base = std::filesystem::is_directory("/dev/shm") ? "/dev/shm" : "/tmp";
    std::string name = base + "/phalanx_fuzz_XXXXXX";
    if (::mkdtemp(name.data()) == nullptr) broken("a temporary folder can be made", base);
    path_ = name;
  }
  ~FuzzFolder() {
    std::error_code error;
    std::filesystem::remove_all(path_, error);
  }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

void check_error(const core::Error& error) {
  promise(error.code() == core::ExitCode::kBadInput || error.code() == core::ExitCode::kBadConfig,
          "a refusal has exit code 65 or 78", error.what());
  const std::string text = error.what();
  promise(!text.empty(), "a refusal says something");
  for (size_t at = 0; at < text.size();) {
    const size_t length = core::utf8_length(std::string_view(text).substr(at));
    const bool is_control =
        (static_cast<unsigned char>(text[at]) < 0x20 && text[at] != '\n') || text[at] == 0x7f;
    if (length == 0 || is_control) broken("a refusal is printable UTF-8", core::printable(text, 400));
    at += length;
  }
}

}  // namespace

std::string path_of(const std::string& name) {
  static const FuzzFolder folder;
  return (folder.path() / name).string();
}

std::string as_file(std::string_view input, const std::string& name) {
  const std::string path = path_of(name);
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file.write(input.data(), static_cast<std::streamsize>(input.size()));
  file.close();
  promise(file.good(), "the input can be written", path);
  return path;
}

bool accepts(const std::function<void()>& read) {
  try {
    read();
    return true;
  } catch (const core::Error& error) {
    check_error(error);
    return false;
  } catch (const std::exception& error) {
    broken("only core::Error escapes", error.what());
  }
}

void broken(std::string_view promise, std::string_view detail) {
  std::fprintf(stderr, "promise broken: %.*s%s%.*s\n", static_cast<int>(promise.size()), promise.data(),
               detail.empty() ? "" : ": ", static_cast<int>(detail.size()), detail.data());
  std::abort();
}

}  // namespace phalanx::fuzz
