#pragma once
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <string>
#include <vector>

#include "formats/format_error.h"
#include "formats/tensor_file.h"

namespace phalanx::formats {

inline std::filesystem::path golden(const std::string& name) {
  return std::filesystem::path(PHALANX_SOURCE_DIR) / "tests/formats/golden" / name;
}

/// A folder that is removed with the test.
class TempFolder {
 public:
  TempFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "phalanx_formats_XXXXXX").string();
    path_ = ::mkdtemp(name.data());
  }
  ~TempFolder() { std::filesystem::remove_all(path_); }
  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

inline std::string read_bytes(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

inline void write_bytes(const std::filesystem::path& path, std::string_view bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

template <typename T>
std::string raw(T value) {
  return {reinterpret_cast<const char*>(&value), sizeof value};
}

/// Runs `action`, which must throw a FormatError of this kind with a message of one printable line that names
/// the file.
inline void expect_format_error(FormatErrorKind kind, const std::function<void()>& action,
                                const std::string& what) {
  try {
    action();
    ADD_FAILURE() << what << ": nothing was thrown";
  } catch (const FormatError& error) {
    EXPECT_EQ(int(error.kind()), int(kind)) << what << ": " << error.what();
    EXPECT_EQ(std::string(error.what()).find_first_of("\n\r\x1b"), std::string::npos) << what;
    EXPECT_NE(std::string(error.what()).find(std::filesystem::path(error.path()).filename().string()),
              std::string::npos)
        << error.what();
  } catch (const std::exception& error) {
    ADD_FAILURE() << what << ": another error: " << error.what();
  }
}

template <typename T>
std::vector<T> values_of(const TensorFile& file, const std::string& name) {
  const TensorInfo* tensor = file.find(name);
  if (tensor == nullptr) {
    ADD_FAILURE() << "no tensor " << name;
    return {};
  }
  const auto bytes = file.bytes(*tensor);
  std::vector<T> values(bytes.size() / sizeof(T));
  if (!bytes.empty()) std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

}  // namespace phalanx::formats
