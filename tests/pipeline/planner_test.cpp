#include "pipeline/planner.h"

#include <set>

#include "core/hash.h"
#include "error_of.h"
#include "pipeline/sample_pipeline.h"

namespace phalanx::pipeline {
namespace {

using Names = std::vector<std::string>;

constexpr const char* kText = R"(
pipeline: {output_dir: out}
defaults:
  run: {seed: 1}
stages:
  sft:    {kind: train, model: {path: base}, method: {beta: 0.1}, data: {train: [{path: a.jsonl}]}}
  reward: {kind: train, model: {path: base}, method: {beta: 0.2}, data: {train: [{path: b.jsonl}]}}
  dpo:    {kind: train, model: {path: {from: sft}}, method: {beta: 0.3}, data: {train: [{path: b.jsonl}]}}
  gguf:   {kind: convert, source: {from: dpo}}
)";

/// Runs stages as launch/ does, but what a stage makes is a hash of what it depends on.
class PlannerTest : public testing::Test {
 protected:
  PlannerTest() {
    folder.write("a.jsonl", "a");
    folder.write("b.jsonl", "b");
    folder.write("base/weights", "w");
    folder.write("base/config", "c");
  }

  Pipeline pipeline() const { return Pipeline::parse(kText, "p.yaml", sets); }

  /// Which stages ran.
  Names run(const Selection& selection = {}) {
    const Pipeline all = pipeline();
    Planner planner(all, version, selection);
    Names ran;
    for (size_t i = 0; i < all.stages.size(); ++i) {
      Decision decision = planner.decide(i, /*is_planning=*/false);
      if (!decision.runs) continue;
      finish(all.stages[i], decision.next);
      ran.push_back(all.stages[i].name);
    }
    return ran;
  }

  void finish(const Stage& stage, StageRecord record) const {
    folder.write(stage.result_path() + (stage.kind->name == "train" ? "/weights" : ""),
                 stage.kind->name == "convert" ? "converted " + record.hash() : record.hash());
    record.outputs = stamp_result(stage, {});
    record.is_done = true;
    write_record(stage.folder, record);
  }

  std::string why(const std::string& stage, const Selection& selection = {}) {
    const Pipeline all = pipeline();
    Planner planner(all, version, selection);
    std::string words;
    for (size_t i = 0; i <= all.find(stage); ++i) words = describe(planner.decide(i, /*is_planning=*/true));
    return words;
  }

  test::Folder folder;
  std::string version = "1.0";
  std::vector<std::string> sets;
};

struct Change {
  const char* name;
  std::function<void(std::vector<std::string>& sets, std::string& version)> make;
  Names ran;
};

TEST_F(PlannerTest, ExactlyWhatDependsOnAChangeRunsAgain) {
  const Names all = {"sft", "reward", "dpo", "gguf"};
  const auto set = [](const char* assignment) {
    return [assignment](std::vector<std::string>& to, std::string&) { to = {assignment}; };
  };
  const auto file = [this](const char* name, const char* text) {
    return [=, this](std::vector<std::string>&, std::string&) { folder.write(name, text); };
  };
  const std::vector<Change> changes = {
      {"nothing", [](auto&, auto&) {}, {}},
      {"a value of one stage", set("stages.reward.method.beta=0.9"), {"reward"}},
      {"a value back again", [](auto& to, auto&) { to.clear(); }, {"reward"}},
      {"a value of the first stage", set("stages.sft.method.beta=0.9"), {"sft", "dpo", "gguf"}},
      {"a key of the last stage", set("stages.gguf.to=gguf"), {"sft", "dpo", "gguf"}},  // and sft back again
      {"a shared value", set("defaults.run.seed=2"), all},
      {"content of one file", file("a.jsonl", "aa"), {"sft", "dpo", "gguf"}},
      {"content of a file that two read", file("b.jsonl", "c"), {"reward", "dpo", "gguf"}},
      {"a file of a folder", file("base/config", "d"), {"sft", "reward", "dpo", "gguf"}},
      {"a new file of a folder", file("base/more", "e"), {"sft", "reward", "dpo", "gguf"}},
      {"the same content again", file("a.jsonl", "aa"), {}},
      {"the program", [](auto&, auto& of) { of = "1.1"; }, all},
  };
  EXPECT_EQ(run(), all);
  for (const Change& change : changes) {
    change.make(sets, version);
    EXPECT_EQ(run(), change.ran) << change.name;
    EXPECT_EQ(run(), Names()) << change.name << ", again";
  }
}

TEST_F(PlannerTest, ATouchedFileIsReadAgainAndFoundToBeTheSame) {
  run();
  std::filesystem::last_write_time("a.jsonl", std::filesystem::file_time_type::clock::now());
  EXPECT_EQ(why("sft"), "is up to date");
  EXPECT_EQ(run(), Names());
}

TEST_F(PlannerTest, AResultThatIsTheSameAfterARunStopsThere) {
  run();
  const Pipeline all = pipeline();
  const Stage& sft = all.stages[0];
  StageRecord record = *read_record(sft.folder)->record;
  record.values["run.name"] = "was another";
  write_record(sft.folder, record);
  const std::string made = folder.read(sft.result_path() + "/weights");
  Planner planner(all, version, {});
  const Decision decision = planner.decide(0, false);
  EXPECT_TRUE(decision.runs);
  finish(sft, decision.next);
  EXPECT_EQ(folder.read(sft.result_path() + "/weights"), made);
  EXPECT_EQ(run(), Names());
}

TEST_F(PlannerTest, SaysWhy) {
  EXPECT_EQ(why("sft"), "runs: it has not run yet");
  run();
  sets = {"stages.sft.method.beta=0.25"};
  EXPECT_EQ(why("sft"), "runs: method.beta changed 0.1 -> 0.25");
  EXPECT_EQ(why("reward"), "is up to date");
  EXPECT_EQ(why("gguf"), "runs: stage dpo runs");
  sets.clear();
  folder.write("a.jsonl", "other");
  EXPECT_EQ(why("sft"), "runs: a.jsonl changed");
  folder.write("a.jsonl", "a");
  version = "2";
  EXPECT_EQ(why("sft"), "runs: the program's version changed 1.0 -> 2");
  version = "1.0";
  sets = {"stages.reward.lora={r: 4}"};
  EXPECT_EQ(why("reward"), "runs: lora.path is new: null; lora.r is new: 4");
  sets = {"stages.sft.data.train=[{path: a.jsonl}, {path: b.jsonl}]"};
  EXPECT_EQ(why("sft"), "runs: data.train[1].path is new: b.jsonl; b.jsonl is new");
  sets.clear();
  EXPECT_EQ(why("sft", {.force = true}), "runs: --force");
  EXPECT_EQ(why("sft", {.only = "gguf"}), "is not asked for");
}

TEST_F(PlannerTest, ADamagedResultOrRecordIsNotBelieved) {
  const auto write_over = [this](const std::string& name, const std::string& text) {
    return [=, this] { folder.write(name, text); };
  };
  const std::string record = "out/reward/stage.json";
  const auto flip = [&] {
    std::string text = folder.read(record);
    text[text.find("0.2")] = '1';
    folder.write(record, text);
  };
  const struct {
    std::function<void()> harm;
    const char* reason;
  } cases[] = {
      {write_over("out/reward/final/weights", "?"), "its result final/weights changed"},
      {write_over("out/reward/final/extra", "?"), "its result final/extra is new"},
      {[] { std::filesystem::remove("out/reward/final/weights"); }, "its result final/weights is gone"},
      {[] { std::filesystem::remove_all("out/reward/final"); }, "its result final/weights is gone"},
      {write_over(record, ""), "out/reward/stage.json cannot be read"},
      {write_over(record, "{}"), "out/reward/stage.json is no record of a stage"},
      {flip, "out/reward/stage.json was changed after it was written"},
      {[&] { std::filesystem::resize_file(record, 100); }, "out/reward/stage.json cannot be read"},
  };
  for (const auto& [harm, reason] : cases) {
    std::filesystem::remove_all("out/reward");
    run();
    harm();
    const std::string words = why("reward");
    EXPECT_NE(words.find(reason), std::string::npos) << words;
    std::filesystem::remove_all("out/reward/final");
    EXPECT_EQ(run(), Names{"reward"});
  }
}

TEST_F(PlannerTest, WorkThatHasNotEndedGoesOnOnlyIfNothingChanged) {
  const Pipeline all = pipeline();
  Planner planner(all, version, {});
  std::filesystem::create_directories("out/sft");
  write_record("out/sft", planner.decide(0, false).next);
  EXPECT_EQ(why("sft"), "goes on: it has not ended");
  sets = {"stages.sft.method.beta=0.7"};
  EXPECT_EQ(why("sft"), "runs: method.beta changed 0.1 -> 0.7");
  sets.clear();
  EXPECT_EQ(why("sft", {.force = true}), "runs: --force");
  EXPECT_EQ(run(), (Names{"sft", "reward", "dpo", "gguf"}));
  std::filesystem::create_directories("out/gguf");
  StageRecord begun = *read_record("out/gguf")->record;
  begun.is_done = false;
  write_record("out/gguf", begun);
  EXPECT_EQ(why("gguf"), "runs: it has not ended");  // its kind cannot go on
}

TEST_F(PlannerTest, OnlyAndFromLookAtSomeStages) {
  run();
  sets = {"stages.reward.method.beta=5", "stages.gguf.to=gguf"};
  EXPECT_EQ(run({.only = "gguf"}), Names{"gguf"});
  EXPECT_EQ(run({.from = "dpo"}), Names());
  EXPECT_EQ(run({.from = "dpo", .force = true}), (Names{"dpo", "gguf"}));
  EXPECT_EQ(run(), Names{"reward"});
  EXPECT_EQ(run({.force = true}), (Names{"sft", "reward", "dpo", "gguf"}));
  sets = {"stages.sft.method.beta=5"};
  const std::string refusal =
      phalanx::test::error_of([&] { run({.only = "dpo"}); }, core::ExitCode::kBadConfig);
  EXPECT_NE(refusal.find("stage dpo uses stage sft, which is not up to date (method.beta changed"),
            std::string::npos)
      << refusal;
  const std::string unknown =
      phalanx::test::error_of([&] { run({.from = "sfd"}); }, core::ExitCode::kBadConfig);
  EXPECT_NE(unknown.find("there is no stage sfd; known are sft, reward"), std::string::npos) << unknown;
}

TEST_F(PlannerTest, AFolderOfOtherPeopleIsLeftAlone) {
  folder.write("out/sft/thesis.tex", "years of work");
  const std::string refusal = phalanx::test::error_of([&] { run(); });
  EXPECT_NE(refusal.find("out/sft: is there already and was not made by a pipeline"), std::string::npos)
      << refusal;
  EXPECT_EQ(folder.read("out/sft/thesis.tex"), "years of work");
}

}  // namespace
}  // namespace phalanx::pipeline
