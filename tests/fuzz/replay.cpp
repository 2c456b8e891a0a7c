// Runs targets over the files of their corpora, without a fuzzer: what was ever found stays fixed, with any
// compiler.
//   fuzz_replay NAME FOLDER    the target NAME on every file of FOLDER
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <string>
#include <vector>

#include "fuzz/fuzz.h"

namespace phalanx::fuzz {
namespace {

std::map<std::string, Target>& targets() {
  static std::map<std::string, Target> all;
  return all;
}

int replay(const std::string& name, const std::filesystem::path& folder) {
  const auto target = targets().find(name);
  if (target == targets().end()) {
    std::fprintf(stderr, "there is no target %s\n", name.c_str());
    return 1;
  }
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  for (const auto& file : files) {
    std::ifstream stream(file, std::ios::binary);
    const std::string input{std::istreambuf_iterator<char>(stream), {}};
    std::printf("%s (%zu bytes)\n", file.filename().c_str(), input.size());
    std::fflush(stdout);  // the last name printed is the one that broke
    target->second(input);
  }
  std::printf("%zu inputs\n", files.size());
  return files.empty() ? 1 : 0;
}

}  // namespace

bool register_target(const char* name, Target target) {
  return targets().emplace(name, target).second;
}

}  // namespace phalanx::fuzz

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "use: fuzz_replay NAME FOLDER\n");
    return 2;
  }
  return phalanx::fuzz::replay(argv[1], argv[2]);
}
