#pragma once
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

// Sections and kinds like the real ones, for the tests of pipeline/ alone; registered in
// pipeline_file_test.cpp.
namespace phalanx::pipeline::test {

struct SampleModel {
  std::optional<std::string> path;
};
struct SampleMethod {
  double beta = 0.1;
};
struct SampleSource {
  std::string path;
};
struct SampleData {
  std::vector<SampleSource> train;
};
struct SampleLora {
  int64_t r = 8;
  std::optional<std::string> path;
};

struct TrainKeys {};
struct ConvertKeys {
  std::string source, to = "hf";
};
struct SampleKeys {
  std::string source, prompts;
};

/// A temporary folder that is the current one as long as it lives.
class Folder {
 public:
  Folder() : before_(std::filesystem::current_path()) {
    std::string name = (std::filesystem::temp_directory_path() / "phalanx_pipeline_XXXXXX").string();
    path_ = mkdtemp(name.data());
    std::filesystem::current_path(path_);
  }
  ~Folder() {
    std::filesystem::current_path(before_);
    std::filesystem::remove_all(path_);
  }
  static void write(const std::string& name, const std::string& text) {
    const auto parent = std::filesystem::path(name).parent_path();
    if (!parent.empty()) std::filesystem::create_directories(parent);
    std::ofstream(name, std::ios::binary) << text;
  }
  static std::string read(const std::string& name) {
    std::ostringstream text;
    text << std::ifstream(name).rdbuf();
    return text.str();
  }

 private:
  std::filesystem::path before_, path_;
};

}  // namespace phalanx::pipeline::test
