#pragma once
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <string>

#include "core/error.h"
#include "error_of.h"
#include "label/verdict.h"

namespace phalanx::label::test {

/// A folder that goes away with the object.
class Folder {
 public:
  Folder() {
    std::string name = (std::filesystem::temp_directory_path() / "phalanx_label_XXXXXX").string();
    path_ = mkdtemp(name.data());
  }
  ~Folder() {
    std::error_code error;
    std::filesystem::remove_all(path_, error);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  std::string path(const std::string& name) const { return (path_ / name).string(); }
  std::string write(const std::string& name, const std::string& text) const {
    std::ofstream(path(name), std::ios::binary) << text;
    return path(name);
  }
  std::string read(const std::string& name) const {
    std::ifstream file(path(name), std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }

 private:
  std::filesystem::path path_;
};

using ::phalanx::test::error_of;

inline bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

inline int count_lines(const std::string& text) {
  return static_cast<int>(std::count(text.begin(), text.end(), '\n'));
}

inline Answer make_answer(const std::string& labeller, const std::string& pair, Verdict verdict) {
  Answer answer;
  answer.labeller = labeller;
  answer.pair = pair;
  answer.verdict = verdict;
  answer.seconds = 1.5;
  answer.time = "2026-01-02T03:04:05Z";
  if (is_choice(verdict))
    answer.row = {{"prompt", "p" + pair}, {"chosen", "a"}, {"rejected", "b"}, {"labeller", labeller}};
  return answer;
}

}  // namespace phalanx::label::test
