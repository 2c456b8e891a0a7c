// The pages in docs/ that are generated are those of this program.
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "launch/program.h"

namespace phalanx::launch {
namespace {

std::string committed(const std::string& name) {
  std::ostringstream text;
  text << std::ifstream(std::string(PHALANX_SOURCE_DIR) + "/docs/" + name).rdbuf();
  return text.str();
}

TEST(Docs, OfTheConfigAreGeneratedFromTheDeclarations) {
  const test::Workplace place;
  ASSERT_EQ(place.run({"docs", "made"}).exit_code, 0);
  for (const char* name : {"config.md", "config.schema.json"}) {
    EXPECT_TRUE(place.read(std::string("made/") + name) == committed(name))
        << "run: build/release/phalanx docs";
  }
}

TEST(Docs, EveryExampleConfigPassesADryRunOfItsConfig) {
  const test::Workplace place;
  for (const auto& entry :
       std::filesystem::directory_iterator(std::string(PHALANX_SOURCE_DIR) + "/configs")) {
    const test::Outcome outcome = place.run({"train", entry.path().string(), "--print-config"});
    EXPECT_EQ(outcome.exit_code, 0) << entry.path() << ": " << outcome.err;
  }
}

}  // namespace
}  // namespace phalanx::launch
