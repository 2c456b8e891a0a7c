#include "pipeline/pipeline_file.h"

#include "pipeline/sample_pipeline.h"

namespace phalanx::pipeline {
namespace {

using core::PathOf;
using test::ConvertKeys;
using test::SampleData;
using test::SampleKeys;
using test::SampleLora;
using test::SampleMethod;
using test::SampleModel;

const bool model_registered =
    core::register_section<SampleModel>("model", "The model.", [](core::SectionBuilder<SampleModel>& s) {
      s.field("path", &SampleModel::path, {.help = "Weights.", .path = PathOf::kModel});
    });
const bool lora_registered =
    core::register_section<SampleLora>("lora", "Adapters.", [](core::SectionBuilder<SampleLora>& s) {
      s.only_when_present();
      s.field("r", &SampleLora::r, {.help = "Rank.", .min = 1});
      s.field("path", &SampleLora::path, {.help = "Adapter.", .path = PathOf::kAdapter});
    });
const bool data_registered =
    core::register_section<SampleData>("data", "The data.", [](core::SectionBuilder<SampleData>& s) {
      s.list<test::SampleSource>("train", &SampleData::train, {.help = "Files."},
                                 [](core::SectionBuilder<test::SampleSource>& item) {
                                   item.field(
                                       "path", &test::SampleSource::path,
                                       {.help = "File.", .required_in_item = true, .path = PathOf::kRecords});
                                 });
    });
const bool method_registered =
    core::register_section<SampleMethod>("method", "The loss.", [](core::SectionBuilder<SampleMethod>& s) {
      s.field("beta", &SampleMethod::beta, {.help = "Strength.", .min = 0});
    });

StageKind sample_train() {
  StageKind kind = make_kind<test::TrainKeys>("train", "Trains.", [](auto&) {});
  kind.resumes = true;
  kind.result = [](const Stage& stage) {
    return Result{"final", stage.config.has("lora") ? PathOf::kAdapter : PathOf::kModel};
  };
  return kind;
}

StageKind sample_convert() {
  StageKind kind = make_kind<ConvertKeys>("convert", "Converts.", [](core::SectionBuilder<ConvertKeys>& s) {
    s.field("source", &ConvertKeys::source,
            {.help = "What.", .required_in_item = true, .path = PathOf::kAnyModel});
    s.field("to", &ConvertKeys::to, {.help = "Format.", .one_of = {"hf", "gguf"}});
  });
  kind.reads = {"run.seed", "model"};
  kind.own_only = {"model"};
  kind.result = [](const Stage&) { return Result{"model", PathOf::kModel}; };
  return kind;
}

StageKind sample_generate() {
  StageKind kind = make_kind<SampleKeys>("sample", "Samples.", [](core::SectionBuilder<SampleKeys>& s) {
    s.field("source", &SampleKeys::source,
            {.help = "Who.", .required_in_item = true, .path = PathOf::kAnyModel});
    s.field("prompts", &SampleKeys::prompts, {.help = "What.", .path = PathOf::kRecords});
  });
  kind.reads = {"run.seed"};
  kind.result = [](const Stage&) { return Result{"answers.jsonl", PathOf::kRecords}; };
  return kind;
}

const bool kinds_registered = register_stage_kind(sample_train) && register_stage_kind(sample_convert) &&
                              register_stage_kind(sample_generate);

constexpr const char* kStart = "pipeline: {output_dir: out}\n";

std::vector<std::string> errors_in(const std::string& text, const std::vector<std::string>& sets = {}) {
  try {
    Pipeline::parse(text, "p.yaml", sets);
  } catch (const core::ConfigErrors& errors) {
    EXPECT_EQ(errors.code(), core::ExitCode::kBadConfig);
    return errors.lines();
  }
  return {};
}

std::string value(const Pipeline& pipeline, const std::string& stage, const std::string& key) {
  const auto values = pipeline.stages[pipeline.find(stage)].values();
  const auto found = values.find(key);
  return found == values.end() ? "" : found->second;
}

TEST(PipelineFile, StagesLieOverTheDefaultsKeyByKey) {
  const Pipeline pipeline = Pipeline::parse(std::string(kStart) + R"(
defaults:
  model: {path: base}
  lora: {r: 4}
  method: {beta: 0.3}
stages:
  sft: {kind: train}
  dpo: {kind: train, method: {beta: 0.5}, lora: null, run: {seed: 3}}
  gguf: {kind: convert, source: {from: dpo}, to: gguf}
)",
                                            "p.yaml");
  ASSERT_EQ(pipeline.stages.size(), 3U);
  EXPECT_EQ(value(pipeline, "sft", "model.path"), "base");
  EXPECT_EQ(value(pipeline, "sft", "lora.r"), "4");
  EXPECT_EQ(value(pipeline, "sft", "run.output_dir"), "out/sft");
  EXPECT_EQ(value(pipeline, "dpo", "method.beta"), "0.5");
  EXPECT_EQ(value(pipeline, "dpo", "run.seed"), "3");
  EXPECT_EQ(value(pipeline, "dpo", "lora.r"), "");
  EXPECT_EQ(value(pipeline, "gguf", "source"), "out/dpo/final");
  EXPECT_EQ(value(pipeline, "gguf", "method.beta"), "");  // what it does not read does not change it
  EXPECT_EQ(value(pipeline, "gguf", "model.path"), "null");
  EXPECT_EQ(pipeline.stages[2].uses, std::vector<size_t>{1});
}

TEST(PipelineFile, EveryRoundFeedsTheNextOne) {
  const Pipeline pipeline = Pipeline::parse(std::string(kStart) + R"(
stages:
  sft: {kind: train, model: {path: base}}
  loop:
    rounds: 3
    stages:
      ask:  {kind: sample, source: {previous: dpo, first: {from: sft}}, prompts: prompts.jsonl}
      dpo:
        kind: train
        model: {path: {previous: dpo, first: base}}
        data: {train: [{path: extra.jsonl}, {path: {from: ask, rounds: all}}]}
  last: {kind: convert, source: {from: loop/dpo}}
  second: {kind: convert, source: {from: loop/dpo, round: 2}}
)",
                                            "p.yaml");
  ASSERT_EQ(pipeline.stages.size(), 9U);
  EXPECT_EQ(value(pipeline, "loop/1/ask", "source"), "out/sft/final");
  EXPECT_EQ(value(pipeline, "loop/1/dpo", "model.path"), "base");
  EXPECT_EQ(value(pipeline, "loop/3/ask", "source"), "out/loop/2/dpo/final");
  EXPECT_EQ(value(pipeline, "loop/2/dpo", "data.train[0].path"), "extra.jsonl");
  EXPECT_EQ(value(pipeline, "loop/2/dpo", "data.train[1].path"), "out/loop/1/ask/answers.jsonl");
  EXPECT_EQ(value(pipeline, "loop/2/dpo", "data.train[2].path"), "out/loop/2/ask/answers.jsonl");
  EXPECT_EQ(value(pipeline, "loop/2/dpo", "data.train[3].path"), "");
  EXPECT_EQ(value(pipeline, "last", "source"), "out/loop/3/dpo/final");
  EXPECT_EQ(value(pipeline, "second", "source"), "out/loop/2/dpo/final");
  EXPECT_EQ(pipeline.stages[pipeline.find("loop/3/dpo")].round, 3);
}

TEST(PipelineFile, WhatIsWrongIsSaidOfAllStagesAtOnceWithItsPlace) {
  const auto lines = errors_in(
      "pipeline: {output_dir: out}\n"
      "defaults: {method: {beta: -1}}\n"
      "stages:\n"
      "  sft: {kind: train, lorra: {r: 4}}\n"
      "  dpo: {kind: train, method: {beta: hot}}\n"
      "  gguf: {kind: convert, source: {from: dqo}, to: gguff}\n");
  ASSERT_EQ(lines.size(), 5U) << fmt::format("{}", fmt::join(lines, "\n"));
  EXPECT_TRUE(lines[0].starts_with("p.yaml:2:27: error: method.beta is -1")) << lines[0];
  EXPECT_TRUE(lines[1].starts_with("p.yaml:4:22: error: stage sft of kind train does not read lorra"))
      << lines[1];
  EXPECT_TRUE(lines[2].starts_with("p.yaml:5:37: error: method.beta is hot")) << lines[2];
  EXPECT_TRUE(lines[3].starts_with("p.yaml:6:40: error: there is no stage dqo; did you mean dpo?"))
      << lines[3];
  EXPECT_TRUE(lines[4].starts_with("p.yaml:6:50: error: stages.gguf.to is gguff")) << lines[4];
}

struct WrongFile {
  const char* text;
  const char* error;
};

class WrongPipeline : public testing::TestWithParam<WrongFile> {};

TEST_P(WrongPipeline, IsRefusedWithAWayOut) {
  const auto lines = errors_in(std::string(kStart) + GetParam().text);
  ASSERT_FALSE(lines.empty()) << GetParam().text;
  EXPECT_NE(fmt::format("{}", fmt::join(lines, "\n")).find(GetParam().error), std::string::npos)
      << GetParam().text << "\n"
      << lines[0];
}

INSTANTIATE_TEST_SUITE_P(
    Files, WrongPipeline,
    testing::Values(
        WrongFile{"", "p.yaml:1:1: error: stages must be a map"},
        WrongFile{"stages: {}\n", "stages must be a map"},
        WrongFile{"train: {max_steps: 3}\nstages: {a: {kind: train}}\n",
                  "2:1: error: unknown key train; a pipeline has"},
        WrongFile{"defaults: {modle: {path: x}}\nstages: {a: {kind: train}}\n",
                  "2:12: error: unknown section modle"},
        WrongFile{"stages: {a: {kind: trian}}\n",
                  "2:20: error: kind is trian, which is none of convert, sample, train"},
        WrongFile{"stages: {a: {method: {beta: 1}}}\n", "stage a has no kind; it is one of"},
        WrongFile{"stages: {a: 3}\n", "a stage is a map with its kind"},
        WrongFile{"stages: {a b: {kind: train}}\n", "a b is no name of a stage"},
        WrongFile{"stages: {a: {kind: convert}}\n", "stages.a has no source"},
        WrongFile{"stages: {a: {kind: convert, source: x, method: {beta: 1}}}\n", "does not read method"},
        WrongFile{"stages: {a: {kind: convert, source: x, run: {name: x}}}\n",
                  "does not read run.name; it reads run.seed"},
        WrongFile{"stages: {a: {kind: train, run: {output_dir: x}}}\n",
                  "in a pipeline it is out/a; remove it"},
        WrongFile{"stages: {a: {kind: train, model: {path: {from: b}}}, b: {kind: train}}\n",
                  "stage b does not come before"},
        WrongFile{"stages: {a: {kind: train}, b: {kind: train, method: {beta: {from: a}}}}\n",
                  "method.beta takes no result"},
        WrongFile{"stages: {a: {kind: train}, b: {kind: train, data: {train: [{path: {from: a}}]}}}\n",
                  "data.train[0].path takes records, but stage a (train) makes a model"},
        WrongFile{"stages: {a: {kind: train, lora: {r: 4}}, b: {kind: train, model: {path: {from: a}}}}\n",
                  "put a stage of kind merge between them"},
        WrongFile{"stages: {a: {kind: train}, b: {kind: train, model: {path: {from: a, rounds: all}}}}\n",
                  "needs a list, as in data.train"},
        WrongFile{"stages: {a: {kind: train}, b: {kind: train, model: {path: {from: a, round: 2}}}}\n",
                  "round is 2 but must be 1 to 0"},
        WrongFile{"stages: {a: {kind: train}, b: {kind: train, model: {path: {from: a, turn: 2}}}}\n",
                  "unknown key turn of a reference; known are from, round"},
        WrongFile{"stages: {a: {kind: train}, b: {kind: train, model: {path: {previous: a}}}}\n",
                  "previous has no first"},
        WrongFile{"stages: {a: {kind: train}, b: {kind: train, model: {path: {previous: a, first: x}}}}\n",
                  "previous names a, which is no stage of these rounds"},
        WrongFile{"stages: {a: {kind: train}, b: {kind: train, model: {path: out/a/final}}}\n",
                  "lies in this pipeline's output_dir; name the stage that makes it: {from: STAGE}"},
        WrongFile{"stages: {l: {rounds: 0, stages: {a: {kind: train}}}}\n", "stages.l.rounds is 0"},
        WrongFile{"stages: {l: {rounds: 2}}\n", "l has rounds but no stages"},
        WrongFile{"stages: {l: {rounds: 2, stage: {a: {kind: train}}}}\n", "unknown key stages.l.stage"}));

TEST(PipelineFile, SetsReachStagesAndAreNamedInErrors) {
  const std::string text = std::string(kStart) + "stages: {a: {kind: train, method: {beta: 1}}}\n";
  EXPECT_EQ(value(Pipeline::parse(text, "p.yaml", {"stages.a.method.beta=0.7"}), "a", "method.beta"), "0.7");
  const auto lines = errors_in(text, {"stages.a.method.beta=-2"});
  ASSERT_EQ(lines.size(), 1U);
  EXPECT_TRUE(lines[0].starts_with("--set stages.a.method.beta: error: method.beta is -2")) << lines[0];
}

TEST(PipelineFile, InputsThatAreNotThereAreNamedBeforeAnythingStarts) {
  const test::Folder folder;
  folder.write("here.jsonl", "{}");
  const Pipeline pipeline = Pipeline::parse(
      "pipeline: {output_dir: out}\n"
      "stages:\n"
      "  a: {kind: train, data: {train: [{path: here.jsonl}, {path: gone.jsonl}, {path: 'task:addition'}]}}\n"
      "  b: {kind: convert, source: lost}\n"
      "  c: {kind: convert, source: {from: a}}\n",
      "p.yaml");
  try {
    pipeline.check_inputs();
    ADD_FAILURE() << "no error";
  } catch (const core::ConfigErrors& errors) {
    ASSERT_EQ(errors.lines().size(), 2U) << errors.what();
    EXPECT_EQ(errors.lines()[0],
              "p.yaml:3:56: error: data.train[1].path is gone.jsonl: no such file or folder");
    EXPECT_TRUE(errors.lines()[1].starts_with("p.yaml:4:")) << errors.lines()[1];
  }
}

}  // namespace
}  // namespace phalanx::pipeline
