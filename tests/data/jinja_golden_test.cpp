#include <gtest/gtest.h>

#include "data/jinja_interpreter.h"
#include "data/jinja_library.h"
#include "data/jinja_parser.h"
#include "data_test_util.h"

namespace phalanx::data::jinja {
namespace {

constexpr int64_t kClock = 1721952000;  // 2024-07-26, as in make_jinja_golden.py

Variables variables_of(const Value& object) {
  Variables variables;
  for (const auto& [key, value] : object.dict().items()) variables.emplace_back(key.text(), value);
  return variables;
}

std::string render(const std::string& source, const Variables& variables) {
  const Program program = parse(source);
  return Interpreter(program, variables, Limits{}, kClock).run().text;
}

TEST(JinjaGolden, PrintsWhatJinja2PrintsAndRefusesWhatItRefuses) {
  const Value golden = json(read_text(golden_path("jinja.json")));
  const Variables variables = variables_of(*golden.dict().find("variables"));
  for (const Value& item : golden.dict().find("cases")->items()) {
    const Dict& expected = item.dict();
    const std::string& source = expected.find("template")->text();
    std::string printed;
    bool refused = false;
    try {
      printed = render(source, variables);
    } catch (const TemplateError&) {
      refused = true;
    }
    EXPECT_EQ(refused, expected.find("error") != nullptr) << source;
    if (!refused && expected.find("text") != nullptr) {
      EXPECT_EQ(printed, expected.find("text")->text()) << source;
    }
  }
}

TEST(JinjaGolden, ReachesOnlyTheFunctionsThatAreDocumented) {
  EXPECT_EQ(function_names(),
            (std::vector<std::string>{"dict", "namespace", "raise_exception", "range", "strftime_now"}));
  EXPECT_EQ(filter_names().size(), 37u);
  for (const char* name : {"attr", "format", "random", "pprint"})
    EXPECT_EQ(find_filter(name), nullptr) << name;
}

TEST(JinjaGolden, RendersTheSameBytesTwice) {
  const Value golden = json(read_text(golden_path("jinja.json")));
  const Variables variables = variables_of(*golden.dict().find("variables"));
  const std::string source =
      "{{ strftime_now('%d %b %Y %H:%M:%S') }} {{ d }} {% for m in messages %}{{ m }}{% endfor %}";
  EXPECT_EQ(render(source, variables), render(source, variables));
}

}  // namespace
}  // namespace phalanx::data::jinja
