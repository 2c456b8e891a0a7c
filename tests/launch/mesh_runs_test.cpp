// Whole runs over MPI ranks on meshes: the same curve, checkpoints that any mesh reads, `verify mesh`,
// `plan`.
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "launch/program.h"

namespace phalanx::launch {
namespace {

using test::Outcome;
using test::Workplace;
using Sets = std::vector<std::string>;

Outcome train(const Workplace& place, const std::string& name, const Sets& sets) {
  std::vector<std::string> arguments = {"train", "tiny.yaml",           "--set", "run.output_dir=" + name,
                                        "--set", "data.cache_dir=cache"};
  for (const std::string& set : sets) arguments.insert(arguments.end(), {"--set", set});
  return place.run(arguments);
}

std::vector<double> losses(const Workplace& place, const std::string& name) {
  return test::metrics(place, name, {"loss", "eval_loss"});
}

const std::vector<Sets> kMeshes = {
    {"parallel.dp=2"},
    {"parallel.tp=2"},
    {"parallel.tp=2", "parallel.sequence_parallel=true", "parallel.dp=2"},
    {"parallel.pp=2"},
    {"parallel.pp=2", "parallel.pipeline_schedule=zb_h1"},
    {"parallel.cp=2"},
    {"parallel.cp=2", "parallel.context_parallel=ulysses"},
    {"parallel.dp=2", "parallel.zero_stage=1"},
    {"parallel.dp=2", "parallel.zero_stage=2"},
    {"parallel.dp=2", "parallel.zero_stage=3", "train.recompute=full"},
    {"parallel.dp=4", "parallel.dp_replicate=2", "parallel.zero_stage=3"},
};

TEST(MeshRuns, HaveTheCurveAndTheFinalModelOfOneRankInFp64) {
  const Workplace place;
  place.write("tiny.yaml", test::tiny_config());
  const Sets common = {"train.precision=fp64"};
  ASSERT_EQ(train(place, "one", common).exit_code, 0);
  const std::vector<double> expected = losses(place, "one");
  ASSERT_GE(expected.size(), 6);
  for (const Sets& mesh : kMeshes) {
    Sets sets = common;
    sets.insert(sets.end(), mesh.begin(), mesh.end());
    const std::string text = nlohmann::json(mesh).dump();
    const Outcome outcome = train(place, "many", sets);
    ASSERT_EQ(outcome.exit_code, 0) << text << outcome.err;
    const std::vector<double> found = losses(place, "many");
    ASSERT_EQ(found.size(), expected.size()) << text;
    for (size_t i = 0; i < expected.size(); ++i)
      EXPECT_NEAR(found[i], expected[i], 1e-11 * expected[i]) << text << " row " << i;
    std::filesystem::remove_all(place.path("many"));
  }
}

TEST(MeshRuns, GoOnFromTheCheckpointOfAnotherMesh) {
  const Workplace place;
  place.write("tiny.yaml", test::tiny_config());
  const Sets common = {"train.precision=fp64", "checkpoint.every_steps=2"};
  const auto with = [&](Sets more) {
    more.insert(more.end(), common.begin(), common.end());
    return more;
  };
  ASSERT_EQ(train(place, "one", common).exit_code, 0);
  const std::vector<double> expected = losses(place, "one");
  ASSERT_EQ(
      train(place, "moved", with({"parallel.tp=2", "train.max_steps=2", "schedule.name=constant"})).exit_code,
      0);
  ASSERT_EQ(
      train(place, "moved",
            with({"parallel.dp=2", "parallel.zero_stage=3", "train.max_steps=4", "schedule.name=constant"}))
          .exit_code,
      0);
  const Outcome last = train(place, "moved", with({"parallel.pp=2", "schedule.name=constant"}));
  ASSERT_EQ(last.exit_code, 0) << last.err;
  EXPECT_NE(last.err.find("resumed from"), std::string::npos) << last.err;
  ASSERT_EQ(train(place, "straight", with({"schedule.name=constant"})).exit_code, 0);
  const std::vector<double> straight = losses(place, "straight"), moved = losses(place, "moved");
  ASSERT_FALSE(moved.empty());
  EXPECT_NEAR(moved.back(), straight.back(), 1e-10 * straight.back());
}

TEST(MeshRuns, AreProvedByVerifyMesh) {
  const Workplace place;
  place.write("tiny.yaml", test::tiny_config());
  const Outcome outcome = place.run({"verify", "mesh", "tiny.yaml", "--mesh", "dp=2,zero=3", "--mesh",
                                     "tp=2,sp", "--mesh", "pp=2,schedule=zb_h1", "--mesh", "cp=2,ulysses"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.out << outcome.err;
  EXPECT_NE(outcome.out.find("4 meshes, 0 beyond the limits"), std::string::npos) << outcome.out;
  const Outcome bad = place.run({"verify", "mesh", "tiny.yaml", "--mesh", "dp=2,qp=1"});
  EXPECT_EQ(bad.exit_code, 78);
  EXPECT_NE(bad.err.find("\"qp\" is not known"), std::string::npos) << bad.err;
}

TEST(MeshRuns, ArePlannedAsADiagram) {
  const Workplace place;
  place.write("tiny.yaml", test::tiny_config());
  const Outcome outcome = place.run({"plan", "tiny.yaml", "--show-schedule", "--set", "parallel.pp=2"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  for (const char* part : {"pp 2 x", "stage 1 on pp rank 1: layers 1 to 1", "F0", "B0"})
    EXPECT_NE(outcome.out.find(part), std::string::npos) << outcome.out;
}

}  // namespace
}  // namespace phalanx::launch
