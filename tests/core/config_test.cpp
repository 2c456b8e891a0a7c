#include "core/config.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "core/run_options.h"
#include "core/sample_sections.h"

namespace phalanx::core {
namespace {

const bool registered_log = register_section<SampleLog>("log", "Logging.", [](SectionBuilder<SampleLog>& s) {
  s.field("token", &SampleLog::token, {.help = "Key of a service.", .secret = true});
  s.field("url", &SampleLog::url, {.help = "Address of a service."});
});

const bool registered_lora =
    register_section<SampleLora>("lora", "Adapters.", [](SectionBuilder<SampleLora>& s) {
      s.only_when_present();
      s.field("r", &SampleLora::r, {.help = "Rank.", .min = 1});
      s.field("path", &SampleLora::path, {.help = "Existing adapter."});
    });

const bool registered_train =
    register_section<SampleTrain>("train", "The loop.", [](SectionBuilder<SampleTrain>& s) {
      s.field("max_steps", &SampleTrain::max_steps, {.help = "Optimizer steps.", .unit = "steps", .min = 1});
      s.field("epochs", &SampleTrain::epochs, {.help = "Passes over the data.", .min = 1});
      s.field("global_batch_size", &SampleTrain::global_batch_size,
              {.help = "Sequences per step.", .min = 1});
      s.field("micro_batch_size", &SampleTrain::micro_batch_size,
              {.help = "Sequences per forward.", .min = 1});
      s.field("max_grad_norm", &SampleTrain::max_grad_norm, {.help = "Clip.", .min = 0, .above_min = true});
      s.field("precision", &SampleTrain::precision,
              {.help = "Compute | dtype.", .one_of = {"bf16", "fp32", "fp64"}});
    });

const bool registered_optimizer =
    register_section<SampleOptimizer>("optimizer", "The update.", [](SectionBuilder<SampleOptimizer>& s) {
      s.field("name", &SampleOptimizer::name, {.help = "Which.", .one_of = {"adamw", "sgd"}});
      s.field("learning_rate", &SampleOptimizer::learning_rate, {.help = "Peak.", .min = 0, .max = 10});
      s.field("betas", &SampleOptimizer::betas,
              {.help = "Decay of the moments.", .min = 0, .max = 1, .length = 2});
      s.field("decay", &SampleOptimizer::decay, {.help = "Weight decay."});
      s.field("fused", &SampleOptimizer::fused, {.help = "One pass."});
    });

const bool registered_data =
    register_section<SampleData>("data", "The data.", [](SectionBuilder<SampleData>& s) {
      s.list<SampleSource>(
          "train", &SampleData::train, {.help = "Files."}, [](SectionBuilder<SampleSource>& item) {
            item.field("path", &SampleSource::path, {.help = "File.", .required_in_item = true});
            item.field("format", &SampleSource::format, {.help = "Format.", .one_of = {"auto", "text"}});
            item.field("weight", &SampleSource::weight, {.help = "Share.", .min = 0, .above_min = true});
          });
      s.field("sequence_length", &SampleData::sequence_length,
              {.help = "Length.", .unit = "tokens", .min = 1});
      s.field("packing", &SampleData::packing, {.help = "Pack."});
      s.field("columns", &SampleData::columns, {.help = "Columns.", .one_or_many = true});
    });

const bool constrained =
    add_constraint("batch sizes", [](const Config& config, std::vector<Violation>& violations) {
      const auto& train = config.get<SampleTrain>();
      if (train.global_batch_size % train.micro_batch_size == 0) return;
      violations.push_back(
          {"train.micro_batch_size",
           fmt::format("train.micro_batch_size is {} but must divide train.global_batch_size = {}",
                       train.micro_batch_size, train.global_batch_size)});
    });

const bool also_constrained =
    add_constraint("epochs", [](const Config& config, std::vector<Violation>& violations) {
      if (config.is_set("train.epochs") && config.is_set("train.max_steps")) {
        violations.push_back({"train.epochs", "train.epochs and train.max_steps are both given; keep one"});
      }
    });

constexpr const char* kExample = R"(run: {name: wordnet-lora, seed: 3}
lora: {r: 8}
data:
  train:
    - {path: a.jsonl, weight: 2e-1}
    - path: "b c.jsonl"
  packing: false
optimizer:
  learning_rate: 2e-5   # a comment
  betas: [0.9, 0.95]
train: {max_steps: 1e3}
)";

TEST(Config, FillsTheOptionsOfEverySection) {
  const Config config = Config::parse(kExample, "run.yaml");
  EXPECT_EQ(config.get<RunOptions>().name, "wordnet-lora");
  EXPECT_EQ(config.get<RunOptions>().seed, 3);
  EXPECT_EQ(config.get<RunOptions>().determinism, "reproducible");
  EXPECT_EQ(config.get<SampleLora>().r, 8);
  EXPECT_EQ(config.get<SampleTrain>().max_steps, 1000);
  EXPECT_EQ(config.get<SampleOptimizer>().learning_rate, 2e-5);
  EXPECT_EQ(config.get<SampleOptimizer>().betas, (std::vector<double>{0.9, 0.95}));
  const SampleData& data = config.get<SampleData>();
  ASSERT_EQ(data.train.size(), 2u);
  EXPECT_EQ(data.train[0].weight, 0.2);
  EXPECT_EQ(data.train[1].path, "b c.jsonl");
  EXPECT_EQ(data.train[1].format, "auto");
  EXPECT_FALSE(data.packing);
  EXPECT_TRUE(config.has("lora"));
  EXPECT_FALSE(config.has("log"));
  EXPECT_TRUE(config.is_set("train.max_steps"));
  EXPECT_FALSE(config.is_set("train.epochs"));
}

TEST(Config, StartsFromTheDefaultsWithoutAFile) {
  const Config config = Config::defaults({"train.precision=fp32", "lora.path=adapters/x"});
  EXPECT_EQ(config.get<SampleTrain>().precision, "fp32");
  EXPECT_EQ(config.get<SampleTrain>().max_steps, 100);
  EXPECT_EQ(config.get<SampleLora>().path, "adapters/x");
  EXPECT_TRUE(config.has("lora"));
  EXPECT_FALSE(Config::defaults().has("lora"));
  EXPECT_EQ(config.file(), "");
  EXPECT_NO_THROW(Config::parse("", "empty.yaml"));
  EXPECT_NO_THROW(Config::parse("# nothing\n---\n", "comment.yaml"));
}

TEST(Config, SetReplacesWhatTheFileSays) {
  const Config config = Config::parse(
      kExample, "run.yaml",
      {"train.max_steps=5", "run.name=2024", "optimizer.betas=[0.5, 0.6]", "data.train.1.weight=0.5",
       "data.train[0].path=c.jsonl", "optimizer.decay=0.1", "optimizer.fused=true", "lora=null",
       "data.columns=prompt", "train.max_steps=6", "log.url=a=b"});
  EXPECT_EQ(config.get<SampleTrain>().max_steps, 6);  // the last one counts
  EXPECT_EQ(config.get<RunOptions>().name, "2024");   // text as it is
  EXPECT_EQ(config.get<SampleOptimizer>().betas[0], 0.5);
  EXPECT_EQ(config.get<SampleOptimizer>().decay, 0.1);
  EXPECT_EQ(config.get<SampleOptimizer>().fused, true);
  EXPECT_EQ(config.get<SampleData>().train[0].path, "c.jsonl");
  EXPECT_EQ(config.get<SampleData>().train[1].weight, 0.5);
  EXPECT_EQ(config.get<SampleData>().columns, std::vector<std::string>{"prompt"});
  EXPECT_EQ(config.get<SampleLog>().url, "a=b");
  EXPECT_FALSE(config.has("lora"));
  EXPECT_EQ(config.get<SampleLora>().r, 16);
  EXPECT_EQ(Config::defaults({"optimizer.decay=0.1", "optimizer.decay=null"}).get<SampleOptimizer>().decay,
            std::nullopt);
  EXPECT_EQ(Config::defaults({"data.train=[{path: x}]"}).get<SampleData>().train.size(), 1u);
}

TEST(Config, KnowsTheOriginAndPositionOfEachValue) {
  const Config config = Config::parse(kExample, "run.yaml", {"train.micro_batch_size=2"});
  EXPECT_EQ(config.origin("optimizer.learning_rate"), "run.yaml:9");
  EXPECT_EQ(config.origin("optimizer.name"), "default");
  EXPECT_EQ(config.origin("train.micro_batch_size"), "--set");
  EXPECT_EQ(config.origin("data.train.1.path"), "run.yaml:6");
  EXPECT_EQ(config.position("optimizer.learning_rate"), "run.yaml:9:3");
  EXPECT_EQ(config.position("optimizer.name"), "run.yaml:8:1");  // the section
  EXPECT_EQ(config.position("log.url"), "run.yaml:1:1");
  EXPECT_EQ(config.position("data.train[1].weight"), "run.yaml:6:7");
}

TEST(Config, PrintsYamlThatLoadsToTheSameValues) {
  const Config config =
      Config::parse(kExample, "run.yaml", {"train.precision=fp64", "optimizer.decay=1e-300"});
  const std::string printed = config.print(false);
  const Config again = Config::parse(printed, "config.resolved.yaml");
  EXPECT_EQ(again.print(false), printed);
  EXPECT_EQ(again.get<SampleOptimizer>().decay, 1e-300);
  EXPECT_EQ(again.get<SampleData>().train[1].path, "b c.jsonl");
  EXPECT_TRUE(again.has("lora"));
}

TEST(Config, PrintLeavesOutSectionsThatMeanSomethingByTheirPresence) {
  EXPECT_EQ(Config::defaults().print(false).find("lora:"), std::string::npos);
  EXPECT_NE(Config::defaults({"lora.r=2"}).print(false).find("lora:"), std::string::npos);
  EXPECT_EQ(Config::defaults({"lora.r=2"}).print(false, {"run", "lora"}).find("lora:"), std::string::npos);
}

TEST(Config, PrintsTheOriginBehindEveryValue) {
  const std::string printed = Config::parse(kExample, "run.yaml", {"train.max_steps=5"}).print(true);
  EXPECT_NE(printed.find("  learning_rate: 2.0e-05  # run.yaml:9\n"), std::string::npos) << printed;
  EXPECT_NE(printed.find("  max_steps: 5  # --set\n"), std::string::npos);
  EXPECT_NE(printed.find("  epochs: null  # default\n"), std::string::npos);
  EXPECT_NE(printed.find("    - path: a.jsonl  # run.yaml:5\n      format: auto  # default\n      weight: "
                         "0.2  # run.yaml:5\n"),
            std::string::npos);
}

TEST(Config, NeverPrintsSecrets) {
  const Config config = Config::defaults({"log.token=hunter2", "log.url=https://me:hunter3@host/x?y=a@b"});
  const std::string printed = config.print(true);
  EXPECT_EQ(printed.find("hunter"), std::string::npos) << printed;
  EXPECT_NE(printed.find("https://********@host/x?y=a@b"), std::string::npos) << printed;
  EXPECT_EQ(config.get<SampleLog>().token, "hunter2");
  try {
    Config::defaults({"log.token=[hunter2", "log.tokn=hunter2"});
  } catch (const ConfigErrors& errors) {
    EXPECT_EQ(errors.report().find("hunter"), std::string::npos) << errors.report();
  }
}

TEST(Config, LoadsAFileAndNamesOneThatItCannotRead) {
  const std::string path = ::testing::TempDir() + fmt::format("phx_config_{}.yaml", ::getpid());
  std::ofstream(path) << kExample;
  EXPECT_EQ(Config::load(path, {}).get<SampleTrain>().max_steps, 1000);
  ::unlink(path.c_str());
  const auto report = [](const std::string& file) {
    try {
      Config::load(file);
    } catch (const ConfigErrors& errors) {
      EXPECT_EQ(errors.code(), ExitCode::kBadConfig);
      return errors.report();
    }
    return std::string("(no error)");
  };
  EXPECT_EQ(report(path), path + ":1:1: error: cannot be opened: No such file or directory");
  EXPECT_EQ(report("/tmp"), "/tmp:1:1: error: is a folder, a file is needed");
  EXPECT_EQ(report("/dev/zero"),
            "/dev/zero:1:1: error: is not a regular file; pipes and devices are not read");
}

TEST(Config, RefusesASectionThatIsRegisteredTwice) {
  struct Other {
    int64_t x = 0;
  };
  const auto declare = [](SectionBuilder<Other>& s) { s.field("x", &Other::x, {.help = "X."}); };
  EXPECT_THROW(register_section<Other>("train", "Again.", declare), Error);
  EXPECT_THROW(Config::defaults().get<Other>(), Error);
}

TEST(ConfigDocs, ListEverySectionInOrderWithEveryKey) {
  const std::string text = config_markdown();
  EXPECT_LT(text.find("## `run`"), text.find("## `lora`"));
  EXPECT_LT(text.find("## `lora`"), text.find("## `data`"));
  EXPECT_LT(text.find("## `train`"), text.find("## `log`"));
  EXPECT_NE(text.find("| `max_steps` | an integer >= 1, in steps | `100` | Optimizer steps. |"),
            std::string::npos)
      << text;
  EXPECT_NE(text.find("| `epochs` | an integer >= 1, or null | `null` |"), std::string::npos);
  EXPECT_NE(text.find("| `train[].path` | text | required | File. |"), std::string::npos);
  EXPECT_NE(text.find("Compute \\| dtype."), std::string::npos);
  EXPECT_NE(text.find("| `betas` | a list of 2 numbers, each >= 0 and <= 1 | `[0.9, 0.999]` |"),
            std::string::npos);
}

TEST(ConfigDocs, TheJsonSchemaSaysTheSame) {
  const auto schema = nlohmann::json::parse(config_json_schema());
  const auto& train = schema["properties"]["train"];
  EXPECT_EQ(schema["additionalProperties"], false);
  EXPECT_EQ(train["additionalProperties"], false);
  EXPECT_EQ(train["properties"]["max_steps"]["type"], "integer");
  EXPECT_EQ(train["properties"]["max_steps"]["minimum"], 1);
  EXPECT_EQ(train["properties"]["max_steps"]["default"], 100);
  EXPECT_EQ(train["properties"]["max_grad_norm"]["exclusiveMinimum"], 0.0);
  EXPECT_EQ(train["properties"]["precision"]["enum"], (nlohmann::json{"bf16", "fp32", "fp64"}));
  EXPECT_EQ(train["properties"]["epochs"]["anyOf"][1]["type"], "null");
  const auto& source = schema["properties"]["data"]["properties"]["train"]["items"];
  EXPECT_EQ(source["required"], nlohmann::json::array({"path"}));
  EXPECT_EQ(schema["properties"]["optimizer"]["properties"]["betas"]["minItems"], 2);
}

}  // namespace
}  // namespace phalanx::core
