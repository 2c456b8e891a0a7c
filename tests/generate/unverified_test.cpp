#include "generate/unverified.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>

namespace phalanx::generate {
namespace {

namespace fs = std::filesystem;

class UnverifiedTest : public ::testing::Test {
 protected:
  UnverifiedTest() : folder_(fs::temp_directory_path() / fmt::format("phalanx-unverified-{}", getpid())) {
    fs::create_directories(folder_);
  }
  ~UnverifiedTest() override { fs::remove_all(folder_); }

  std::vector<std::string> names() const {
    std::vector<std::string> found;
    for (const auto& entry : fs::recursive_directory_iterator(folder_))
      found.push_back(fs::relative(entry.path(), folder_).string());
    std::sort(found.begin(), found.end());
    return found;
  }
  static void write(const fs::path& file, const std::string& text) { std::ofstream(file) << text; }

  fs::path folder_;
};

TEST_F(UnverifiedTest, AFolderAppearsWithItsVerification) {
  for (const char* name : {"made", "slash/"}) {
    Unverified made(folder_ / name);
    fs::create_directories(made.path());
    write(made.path() / "config.json", "{}");
    EXPECT_FALSE(fs::exists(folder_ / name));
    made.publish({{"mean_kl", 0}});
  }
  EXPECT_EQ(names(), (std::vector<std::string>{"made", "made/config.json", "made/verification.json", "slash",
                                               "slash/config.json", "slash/verification.json"}));
}

TEST_F(UnverifiedTest, AFileAppearsBesideItsVerification) {
  {
    Unverified made(folder_ / "made.gguf");
    EXPECT_EQ(made.path().extension(), ".gguf");
    write(made.path(), "GGUF");
    made.publish({{"mean_kl", 0}});
  }
  EXPECT_EQ(names(), (std::vector<std::string>{"made.gguf", "made.gguf.verification.json"}));
}

TEST_F(UnverifiedTest, WhatIsNotPublishedIsRemovedAndSoIsWhatAnEarlierProcessLeft) {
  const fs::path left = Unverified(folder_ / "made").path();
  fs::create_directories(left);
  write(left / "old.json", "{}");
  {
    const Unverified made(folder_ / "made");
    EXPECT_FALSE(fs::exists(left));
    fs::create_directories(made.path());
  }
  EXPECT_TRUE(names().empty());
}

}  // namespace
}  // namespace phalanx::generate
