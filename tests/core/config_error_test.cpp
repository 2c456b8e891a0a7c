// Every message of the config, each triggered by the smallest text that deserves it.
#include <fmt/ranges.h>
#include <gtest/gtest.h>

#include "core/config.h"
#include "core/sample_sections.h"

namespace phalanx::core {
namespace {

std::vector<std::string> errors_of(const std::string& text, const std::vector<std::string>& sets = {}) {
  try {
    Config::parse(text, "c.yaml", sets);
  } catch (const ConfigErrors& errors) {
    EXPECT_EQ(errors.code(), ExitCode::kBadConfig);
    EXPECT_EQ(errors.report(), fmt::format("{}", fmt::join(errors.lines(), "\n")));
    return errors.lines();
  }
  return {};
}

struct Case {
  std::string text;
  std::vector<std::string> errors;  // all of them, in order; "c.yaml:" is put in front
};

void expect_errors(const std::vector<Case>& cases) {
  for (const Case& test : cases) {
    std::vector<std::string> expected;
    for (const std::string& error : test.errors) expected.push_back("c.yaml:" + error);
    EXPECT_EQ(errors_of(test.text), expected) << test.text.substr(0, 200);
  }
}

const std::string kTrainKeys =
    "Known keys of train: max_steps, epochs, global_batch_size, micro_batch_size, max_grad_norm, precision";
const std::string kSections = "Known sections: run, lora, data, optimizer, train, log";

TEST(ConfigErrors, UnknownKeysNameTheNearestAndAllKnownOnes) {
  expect_errors({
      {"train: {max_step: 3}",
       {"1:9: error: unknown key train.max_step; did you mean max_steps? " + kTrainKeys}},
      {"train: {learning_rate: 3}",
       {"1:9: error: unknown key train.learning_rate; did you mean optimizer.learning_rate? " + kTrainKeys}},
      {"train: {num_train_epochs: 3}",
       {"1:9: error: unknown key train.num_train_epochs; here it is train.epochs. " + kTrainKeys}},
      {"train: {zzz: 3}", {"1:9: error: unknown key train.zzz. " + kTrainKeys}},
      {"train: {\"a\\e[31m\": 3}", {"1:9: error: unknown key train.a\\x1b[31m. " + kTrainKeys}},
      {"data: {train: [{path: x, wieght: 1}]}",
       {"1:26: error: unknown key data.train[0].wieght; did you mean weight? Known keys of data.train[0]: "
        "path, format, weight"}},
      {"trian: {}", {"1:1: error: unknown section trian; did you mean train? " + kSections}},
      {"per_device_train_batch_size: 8",
       {"1:1: error: unknown section per_device_train_batch_size; here it is train.micro_batch_size. " +
        kSections}},
      {"max_steps: 8", {"1:1: error: unknown section max_steps; did you mean train.max_steps? " + kSections}},
      {"zzz: 8", {"1:1: error: unknown section zzz. " + kSections}},
  });
}

TEST(ConfigErrors, WrongTypesSayWhatIsAllowed) {
  const std::string must = "; it must be an integer >= 1, in steps";
  const auto max_steps = [](const std::string& value) { return "train: {max_steps: " + value + "}"; };
  expect_errors({
      {max_steps("abc"), {"1:20: error: train.max_steps is abc, which is not a number" + must}},
      {max_steps("\"5\""),
       {"1:20: error: train.max_steps is \"5\", which is text; remove the quotes" + must}},
      {max_steps("0"), {"1:20: error: train.max_steps is 0, which is too small" + must}},
      {max_steps("2.5"), {"1:20: error: train.max_steps is 2.5, which has a fraction" + must}},
      {max_steps("no"), {"1:20: error: train.max_steps is no, which is not a number" + must}},
      {max_steps("true"), {"1:20: error: train.max_steps is true, which is not a number" + must}},
      {max_steps("012"),
       {"1:20: error: train.max_steps is 012, which has a leading zero (octal to some readers); write 12" +
        must}},
      {max_steps("0o12"),
       {"1:20: error: train.max_steps is 0o12, which is octal or hexadecimal; write it in decimal" + must}},
      {max_steps("0x1F"),
       {"1:20: error: train.max_steps is 0x1F, which is octal or hexadecimal; write it in decimal" + must}},
      {max_steps("1_000"),
       {"1:20: error: train.max_steps is 1_000, which has underscores; write 1000" + must}},
      {max_steps("1:20"), {"1:20: error: train.max_steps is 1:20, which is not a number" + must}},
      {max_steps(".inf"), {"1:20: error: train.max_steps is .inf, which is not finite" + must}},
      {max_steps("1e400"),
       {"1:20: error: train.max_steps is 1e400, which does not fit into a double" + must}},
      {max_steps("99999999999999999999"),
       {"1:20: error: train.max_steps is 99999999999999999999, which does not fit into 64 bits" + must}},
      {max_steps("null"), {"1:20: error: train.max_steps is null, which is not a value" + must}},
      {max_steps("[1]"), {"1:20: error: train.max_steps is a list, which is not a single value" + must}},
      {max_steps("{a: 1}"), {"1:20: error: train.max_steps is a map, which is not a single value" + must}},
      {"train: {epochs: 0}",
       {"1:17: error: train.epochs is 0, which is too small; it must be an integer >= 1, or null"}},
      {"train: {max_grad_norm: 0}",
       {"1:24: error: train.max_grad_norm is 0, which is too small; it must be a number > 0"}},
      {"train: {max_grad_norm: NaN}",
       {"1:24: error: train.max_grad_norm is NaN, which is not a number; it must be a number > 0"}},
      {"train: {max_grad_norm: .nan}",
       {"1:24: error: train.max_grad_norm is .nan, which is not finite; it must be a number > 0"}},
      {"train: {max_grad_norm: \"3e-4\"}",
       {"1:24: error: train.max_grad_norm is \"3e-4\", which is text; remove the quotes; it must be a number "
        "> 0"}},
      {"train: {precision: fp23}",
       {"1:20: error: train.precision is fp23, which is none of the allowed; did you mean fp32?; it must be "
        "one of bf16, fp32, fp64"}},
      {"train: {precision: mixed}",
       {"1:20: error: train.precision is mixed, which is none of the allowed; it must be one of bf16, fp32, "
        "fp64"}},
      {"optimizer: {learning_rate: 11}",
       {"1:28: error: optimizer.learning_rate is 11, which is too large; it must be a number >= 0 and <= "
        "10"}},
      {"data: {packing: yes}",
       {"1:17: error: data.packing is yes, which is not a boolean; it must be true or false"}},
      {"data: {packing: off}",
       {"1:17: error: data.packing is off, which is not a boolean; it must be true or false"}},
      {"data: {packing: 1}",
       {"1:17: error: data.packing is 1, which is not a boolean; it must be true or false"}},
      {"data: {packing: \"true\"}",
       {"1:17: error: data.packing is \"true\", which is text; remove the quotes; it must be true or false"}},
      {"run: {name: 2024}",
       {"1:13: error: run.name is 2024, which is not text in YAML; if it is meant as text, write \"2024\" in "
        "quotes; it must be text"}},
      {"run: {name: true}",
       {"1:13: error: run.name is true, which is not text in YAML; if it is meant as text, write \"true\" in "
        "quotes; it must be text"}},
      {"run: {output_dir: \"${HOME}/x\"}",
       {"1:19: error: run.output_dir is \"${HOME}/x\", which has a variable, which is not expanded; write "
        "its value; it must be text"}},
      {"run: {output_dir: ~/x}",
       {"1:19: error: run.output_dir is ~/x, which has a ~, which is not expanded; write the whole path; it "
        "must be "
        "text"}},
      {"run: {output_dir: \"$(id)\"}", {}},
      {"run: {output_dir: \"a/$HOME/`id`\"}", {}},
      {"run: {name: \"a\\0b\"}",
       {"1:13: error: run.name is \"a\\x00b\", which has a NUL character; remove it; it must be text"}},
      {"run: {name: }", {"1:13: error: run.name is null, which is not a value; it must be text"}},
  });
}

TEST(ConfigErrors, ListsAndMapsAreCheckedElementByElement) {
  expect_errors({
      {"optimizer: {betas: 0.9}",
       {"1:20: error: optimizer.betas is 0.9, which is not a list; it must be a list of 2 numbers, each >= 0 "
        "and <= 1"}},
      {"optimizer: {betas: [0.9]}",
       {"1:20: error: optimizer.betas is a list, which with 1 elements has the wrong length; it must be a "
        "list of 2 numbers, each >= 0 and <= 1"}},
      {"optimizer: {betas: [0.9, 2]}",
       {"1:26: error: optimizer.betas[1] is 2, which is too large; it must be a number >= 0 and <= 1"}},
      {"optimizer: {betas: [x, y]}",
       {"1:21: error: optimizer.betas[0] is x, which is not a number; it must be a number >= 0 and <= 1",
        "1:24: error: optimizer.betas[1] is y, which is not a number; it must be a number >= 0 and <= 1"}},
      {"data: {columns: [a, 3]}",
       {"1:21: error: data.columns[1] is 3, which is not text in YAML; if it is meant as text, write \"3\" "
        "in quotes; it must be text"}},
      {"data: {columns: {a: 1}}",
       {"1:17: error: data.columns is a map, which is not a list; it must be a text or a list of texts"}},
      {"data: {train: x.jsonl}",
       {"1:15: error: data.train is x.jsonl, which is not a list; it must be a list of maps such as [{path: "
        "...}]"}},
      {"data: {train: [x.jsonl]}",
       {"1:16: error: data.train[0] is x.jsonl, which is not a map; it must be a list of maps such as "
        "[{path: ...}]"}},
      {"data: {train: [{weight: 1}]}", {"1:16: error: data.train[0] has no path; add path: text"}},
      {"data: {train: [{path: x, weight: 0}]}",
       {"1:34: error: data.train[0].weight is 0, which is too small; it must be a number > 0"}},
      {"train:", {"1:1: error: train is empty; write 'train: {}' for its defaults or remove the line"}},
      {"train: 3", {"1:8: error: train must be a map of keys, such as 'train: {max_steps: ...}'"}},
      {"train: [3]", {"1:8: error: train must be a map of keys, such as 'train: {max_steps: ...}'"}},
      {"- train", {"1:1: error: a config is a map of sections, such as 'train: {max_steps: 100}'"}},
      {"train", {"1:1: error: a config is a map of sections, such as 'train: {max_steps: 100}'"}},
  });
}

TEST(ConfigErrors, ConstraintsPointAtTheKeyTheyName) {
  expect_errors({
      {"train:\n  global_batch_size: 16\n  micro_batch_size: 3",
       {"3:3: error: train.micro_batch_size is 3 but must divide train.global_batch_size = 16"}},
      {"train:\n  global_batch_size: 6",
       {"1:1: error: train.micro_batch_size is 4 but must divide train.global_batch_size = 6"}},
      {"train: {epochs: 1, max_steps: 2, micro_batch_size: 3}",
       {"1:9: error: train.epochs and train.max_steps are both given; keep one",
        "1:34: error: train.micro_batch_size is 3 but must divide train.global_batch_size = 16"}},
      // A constraint that reads a wrong value says nothing of its own; an unknown key does not silence it.
      {"train: {micro_batch_size: x, global_batch_size: 7}",
       {"1:27: error: train.micro_batch_size is x, which is not a number; it must be an integer >= 1"}},
      {"train: {micro_batch_size: 3, zzz: 1}",
       {"1:9: error: train.micro_batch_size is 3 but must divide train.global_batch_size = 16",
        "1:30: error: unknown key train.zzz. " + kTrainKeys}},
  });
}

TEST(ConfigErrors, AllComeAtOnceSortedByPosition) {
  const auto errors = errors_of(
      "zzz: 1\n"
      "train:\n"
      "  max_steps: many\n"
      "  max_step: 3\n"
      "  precision: fp32\n"
      "  precision: fp64\n"
      "run: {seed: -1}\n",
      {"train.epochs=x", "nonsense"});
  ASSERT_EQ(errors.size(), 7u) << fmt::format("{}", fmt::join(errors, "\n"));
  const std::vector<std::string> starts = {
      "c.yaml:1:1: ",
      "c.yaml:3:14: ",
      "c.yaml:4:3: ",
      "c.yaml:6:3: ",
      "c.yaml:7:13: ",
      "--set train.epochs: error: train.epochs is x, which is not a number",
      "--set nonsense: error: is not an assignment; write section.key=value"};
  for (size_t i = 0; i < starts.size(); ++i) EXPECT_TRUE(errors[i].starts_with(starts[i])) << errors[i];
}

TEST(ConfigErrors, SetsAreCheckedLikeTheFile) {
  const std::vector<std::pair<std::string, std::string>> rows = {
      {"train.max_step=3",
       "--set train.max_step: error: unknown key train.max_step; did you mean max_steps? " + kTrainKeys},
      {"train.max_steps=x",
       "--set train.max_steps: error: train.max_steps is x, which is not a number; it must be an integer >= "
       "1, in steps"},
      {"train.max_steps=",
       "--set train.max_steps: error: train.max_steps is null, which is not a value; it must be an integer "
       ">= 1, in steps"},
      {"trian.max_steps=3",
       "--set trian.max_steps: error: unknown section trian; did you mean train? " + kSections},
      {"train=3", "--set train: error: train must be a map of keys, such as 'train: {max_steps: ...}'"},
      {"=3", "--set : error: is not an assignment; write section.key=value, such as train.max_steps=100"},
      {"train..x=3",
       "--set train..x: error: is not an assignment; write section.key=value, such as train.max_steps=100"},
      {"data.train.2.path=x",
       "--set data.train.2.path: error: data.train has 1 elements, counted from 0; there is no 2"},
      {"data.packing.x=3", "--set data.packing.x: error: data.packing is a single value, it has no x"},
      {"optimizer.betas=[0.9", "--set optimizer.betas: error: not valid YAML: a '[' without its ']'"},
      {"optimizer.betas=&a [1, 1]",
       "--set optimizer.betas: error: anchors (&name) are not supported; write the value out where it is "
       "used"},
      {"run.name=a\x1b[31m", "--set run.name: error: the value has control characters or is not UTF-8"},
      {"run.name=\xff", "--set run.name: error: the value has control characters or is not UTF-8"},
  };
  for (const auto& [set, expected] : rows) {
    const auto errors = errors_of("data: {train: [{path: x}], packing: true}", {set});
    ASSERT_EQ(errors.size(), 1u) << set;
    EXPECT_EQ(errors[0], expected);
  }
}

TEST(ConfigErrors, AReportIsCutAfterFiftyLines) {
  std::string text = "train:\n";
  for (int i = 0; i < 1000; ++i) text += fmt::format("  key{}: 1\n", i);
  const auto errors = errors_of(text);
  ASSERT_EQ(errors.size(), 51u);
  EXPECT_EQ(errors.back(), "c.yaml:52:3: error: 950 more errors follow");
}

}  // namespace
}  // namespace phalanx::core
