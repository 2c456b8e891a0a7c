// Holds every #include of src/ against the layer table of docs/architecture.md, and CMakeLists.txt against
// the same table.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <regex>
#include <set>
#include <sstream>

namespace phalanx::core {
namespace {

namespace fs = std::filesystem;
const fs::path kSource = PHALANX_SOURCE_DIR;

std::string read_text(const fs::path& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

std::vector<std::string> find_all(const std::string& text, const std::string& pattern) {
  const std::regex regex(pattern);
  std::vector<std::string> found;
  for (auto match = std::sregex_iterator(text.begin(), text.end(), regex); match != std::sregex_iterator();
       ++match) {
    found.push_back((*match)[1]);
  }
  return found;
}

/// Folder -> row of the table, 0 at the top. The table is the one with `core/` in it.
std::map<std::string, int> read_layers() {
  std::map<std::string, int> row_of;
  std::istringstream lines(read_text(kSource / "docs/architecture.md"));
  int row = 0;
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with("|")) {
      if (row_of.contains("core")) break;
      row_of.clear();
      row = 0;
      continue;
    }
    const std::string first_column = line.substr(1, line.find('|', 1) - 1);
    for (const std::string& folder : find_all(first_column, "([a-z_]+)/")) row_of[folder] = row;
    ++row;
  }
  return row_of;
}

/// Folder -> what its line `phalanx_folder(NAME [TORCH headers] USES ...)` lists.
std::map<std::string, std::set<std::string>> read_uses() {
  std::map<std::string, std::set<std::string>> uses;
  for (const std::string& line :
       find_all(read_text(kSource / "CMakeLists.txt"), "\nphalanx_folder\\(([^)]*)\\)")) {
    std::istringstream words(line);
    std::string name, word;
    words >> name;
    uses[name];
    while (words >> word) {
      if (word == "TORCH") {
        words >> word;  // the name of its precompiled headers
      } else if (word != "USES") {
        uses[name].insert(word);
      }
    }
  }
  return uses;
}

struct Include {
  std::string file, folder, target;  // target: what stands in quotes or angle brackets
};

std::vector<Include> read_includes() {
  std::vector<Include> includes;
  for (const auto& entry : fs::recursive_directory_iterator(kSource / "src")) {
    const std::string extension = entry.path().extension();
    if (extension != ".h" && extension != ".cpp" && extension != ".cu") continue;
    const fs::path relative = fs::relative(entry.path(), kSource / "src");
    const std::string text = "\n" + read_text(entry.path());
    for (const std::string& target : find_all(text, "\n[ \t]*#[ \t]*include[ \t]*[\"<]([^\">]+)[\">]")) {
      includes.push_back({relative.string(), relative.begin()->string(), target});
    }
  }
  return includes;
}

class Layers : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!fs::exists(kSource / "docs/architecture.md")) GTEST_SKIP() << "docs/architecture.md is not there";
    row_of_ = read_layers();
    uses_ = read_uses();
    ASSERT_TRUE(row_of_.contains("core")) << "no layer table in docs/architecture.md";
    ASSERT_TRUE(uses_.contains("core")) << "no phalanx_folder(core) in CMakeLists.txt";
  }

  /// May `from` include `to`? The same folder, a row below, or a sibling that CMakeLists.txt lists.
  bool is_allowed(const std::string& from, const std::string& to) const {
    if (from == to || row_of_.at(to) > row_of_.at(from)) return true;
    return row_of_.at(to) == row_of_.at(from) && uses_.contains(from) && uses_.at(from).contains(to);
  }

  std::map<std::string, int> row_of_;
  std::map<std::string, std::set<std::string>> uses_;
};

TEST_F(Layers, EveryIncludePointsDownwards) {
  for (const Include& include : read_includes()) {
    const std::string to = include.target.substr(0, include.target.find('/'));
    if (!row_of_.contains(to) || include.target.find('/') == std::string::npos) continue;
    if (!fs::exists(kSource / "src" / include.target))
      continue;  // a system header in a folder of the same name
    ASSERT_TRUE(row_of_.contains(include.folder)) << include.folder << "/ is not in the layer table";
    EXPECT_TRUE(is_allowed(include.folder, to))
        << "src/" << include.file << " includes \"" << include.target << "\", but " << to << "/ is not below "
        << include.folder << "/ in docs/architecture.md";
  }
}

TEST_F(Layers, EveryFolderHasARowAndALineInCMake) {
  for (const auto& entry : fs::directory_iterator(kSource / "src")) {
    if (!entry.is_directory()) continue;
    const std::string folder = entry.path().filename();
    EXPECT_TRUE(row_of_.contains(folder)) << "src/" << folder << " is not in the layer table";
    EXPECT_TRUE(uses_.contains(folder)) << "src/" << folder << " is not in CMakeLists.txt";
  }
}

TEST_F(Layers, CMakeLinksOnlyDownwardsOrToSiblings) {
  for (const auto& [from, targets] : uses_) {
    ASSERT_TRUE(row_of_.contains(from)) << from;
    for (const std::string& to : targets) {
      ASSERT_TRUE(row_of_.contains(to)) << to;
      EXPECT_GE(row_of_.at(to), row_of_.at(from))
          << "CMakeLists.txt lets " << from << " use " << to << ", which is above it";
    }
  }
}

TEST_F(Layers, CoreFormatsServeDataAndLabelDoNotKnowLibTorch) {
  for (const Include& include : read_includes()) {
    if (!std::set<std::string>{"core", "formats", "serve", "data", "label"}.contains(include.folder))
      continue;
    for (const char* prefix : {"torch/", "ATen/", "c10/"}) {
      EXPECT_FALSE(include.target.starts_with(prefix))
          << "src/" << include.file << " includes <" << include.target << ">";
    }
  }
}

TEST_F(Layers, ModelAndOpsDoNotKnowRanks) {
  for (const Include& include : read_includes()) {
    if (include.folder != "model" && include.folder != "ops") continue;
    EXPECT_FALSE(include.target.starts_with("comm/"))
        << "src/" << include.file << " includes \"" << include.target << "\"";
  }
}

}  // namespace
}  // namespace phalanx::core
