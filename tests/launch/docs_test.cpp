// The pages in docs/ that are generated are those of this program.
#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <sstream>

#include "launch/program.h"
#include "pipeline/stage_kind.h"

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

TEST(Docs, OfPipelinesNameEveryKeyOfEveryKind) {
  std::istringstream lines(committed("pipeline.md"));
  std::map<std::string, std::string> rows;  // of the table of kinds
  for (std::string line; std::getline(lines, line);) {
    for (const pipeline::StageKind& kind : pipeline::stage_kinds()) {
      if (line.starts_with("| `" + kind.name + "` |")) rows[kind.name] = line;
    }
  }
  for (const pipeline::StageKind& kind : pipeline::stage_kinds()) {
    ASSERT_TRUE(rows.contains(kind.name)) << kind.name;
    for (const core::Field& key : kind.keys)
      EXPECT_NE(rows[kind.name].find("`" + key.name), std::string::npos) << kind.name << ": " << key.name;
  }
}

TEST(Docs, EveryExampleConfigPassesADryRunOfItsConfig) {
  const test::Workplace place;
  for (const auto& entry :
       std::filesystem::directory_iterator(std::string(PHALANX_SOURCE_DIR) + "/configs")) {
    const bool is_pipeline = entry.path().filename().string().starts_with("pipeline_");
    const test::Outcome outcome =
        place.run({is_pipeline ? "pipeline" : "train", entry.path().string(), "--print-config"});
    EXPECT_EQ(outcome.exit_code, 0) << entry.path() << ": " << outcome.err;
  }
}

}  // namespace
}  // namespace phalanx::launch
