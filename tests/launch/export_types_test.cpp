// Exports to the block types of GGUF, as a user makes them.
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "launch/program.h"

namespace phalanx::launch {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using test::Outcome;
using test::Workplace;

/// A run whose matrices fit every block type.
void train_wide(const Workplace& place) {
  place.write("tiny.yaml", test::tiny_config());
  const Outcome outcome = place.run({"train", "tiny.yaml", "--set", "run.output_dir=run", "--set",
                                     "train.max_steps=2", "--set", "model.hidden_size=256", "--set",
                                     "model.intermediate_size=512", "--set", "model.dtype=fp32"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
}

Outcome exported(const Workplace& place, const std::string& to, const std::vector<std::string>& more) {
  std::vector<std::string> words = {"export", "run", to, "--to", "gguf"};
  words.insert(words.end(), more.begin(), more.end());
  return place.run(words);
}

TEST(ExportTypes, EachIsVerifiedAndOnRecord) {
  const Workplace place;
  train_wide(place);
  for (const auto& [type, stored] : std::vector<std::pair<std::string, std::string>>{{"q4_k_m", "Q4_K"},
                                                                                     {"q5_k_s", "Q5_K"},
                                                                                     {"q6_k", "Q6_K"},
                                                                                     {"q5_1", "Q5_1"},
                                                                                     {"q4_0", "Q4_0"},
                                                                                     {"bf16", "BF16"}}) {
    const std::string file = type + ".gguf";
    const Outcome outcome = exported(place, file, {"--outtype", type});
    ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
    const json record = json::parse(place.read(file + ".verification.json"));
    EXPECT_EQ(record["type"], type);
    EXPECT_EQ(record["equals_rounded_source"], true);
    EXPECT_GT(record["tensor_types"][stored], 5) << record;
    EXPECT_LE(record["mean_kl"], record["limits"]["mean_kl"]);
    const Outcome verified = place.run({"verify", "export", "run", file});
    EXPECT_EQ(verified.exit_code, 0) << verified.err;
  }
  for (const auto& entry : fs::directory_iterator(place.folder()))
    EXPECT_EQ(entry.path().filename().string().find(".unverified"), std::string::npos) << entry.path();
}

TEST(ExportTypes, ImportanceComesFromAText) {
  const Workplace place;
  train_wide(place);
  place.write("text.txt", "alpha beta gamma\nalpha beta\n");
  ASSERT_EQ(exported(place, "plain.gguf", {"--outtype", "q4_k_m"}).exit_code, 0);
  const Outcome weighed =
      exported(place, "weighed.gguf", {"--outtype", "q4_k_m", "--imatrix-data", "text.txt"});
  ASSERT_EQ(weighed.exit_code, 0) << weighed.err;
  EXPECT_NE(weighed.err.find("importance of the columns of 14 matrices"), std::string::npos) << weighed.err;
  EXPECT_EQ(json::parse(place.read("weighed.gguf.verification.json"))["importance"], "text.txt");
  EXPECT_NE(place.read("plain.gguf"), place.read("weighed.gguf"));
}

TEST(ExportTypes, RefusalsSayWhatIsAllowed) {
  const Workplace place;
  train_wide(place);
  place.write("text.txt", "alpha beta\n");
  place.write("empty.txt", "");
  struct Row {
    std::vector<std::string> words;
    int exit_code;
    std::string part;
  };
  const std::vector<Row> rows = {
      {{"export", "run", "x.gguf", "--to", "gguf", "--outtype", "q4_k_xl"},
       78,
       "q4_k_xl is not a type of GGUF files"},
      {{"export", "run", "x", "--outtype", "q4_k_m"}, 78, "a Hugging Face folder takes f32, f16, bf16"},
      {{"export", "run", "x.gguf", "--to", "gguf", "--outtype", "f16", "--imatrix-data", "text.txt"},
       78,
       "--imatrix-data is for the quantised types"},
      {{"export", "run", "x.gguf", "--to", "gguf", "--outtype", "q4_0", "--imatrix-data", "empty.txt"},
       65,
       "holds no text to calibrate on"},
      {{"export", "run", "x.gguf", "--to", "gguf", "--outtype", "q4_0", "--imatrix-data", "none.txt"},
       65,
       "none.txt"},
  };
  for (const Row& row : rows) {
    const Outcome outcome = place.run(row.words);
    EXPECT_EQ(outcome.exit_code, row.exit_code) << outcome.err;
    EXPECT_NE(outcome.err.find(row.part), std::string::npos) << outcome.err;
    EXPECT_FALSE(fs::exists(place.path("x.gguf")) || fs::exists(place.path("x")));
  }
}

TEST(ExportTypes, AreTheSameBytesFromSeveralRanks) {
  const Workplace place;
  train_wide(place);
  ASSERT_EQ(exported(place, "one.gguf", {"--outtype", "q8_0"}).exit_code, 0);
  const Outcome self_started = exported(place, "two.gguf", {"--outtype", "q8_0", "--set", "parallel.dp=2"});
  EXPECT_EQ(self_started.exit_code, 0) << self_started.err;
  const Outcome launched = place.run_command({"mpirun", "-n", "3", "--oversubscribe", "--allow-run-as-root",
                                              "--bind-to", "none", PHALANX_PROGRAM, "export", "run",
                                              "three.gguf", "--to", "gguf", "--outtype", "q8_0"});
  EXPECT_EQ(launched.exit_code, 0) << launched.err;
  // general.name is that of the file.
  const auto weights = [&](const std::string& file) {
    const std::string bytes = place.read(file);
    return bytes.substr(bytes.size() - 600'000);
  };
  EXPECT_TRUE(weights("one.gguf") == weights("two.gguf"));
  EXPECT_TRUE(weights("one.gguf") == weights("three.gguf"));
  const Outcome refused = exported(place, "two.gguf", {"--outtype", "q8_0", "--set", "parallel.dp=2"});
  EXPECT_EQ(refused.exit_code, 65);
  EXPECT_NE(refused.err.find("already exists"), std::string::npos) << refused.err;
}

}  // namespace
}  // namespace phalanx::launch
