#include <gtest/gtest.h>

#include <chrono>

#include "data/jinja_interpreter.h"
#include "data/jinja_parser.h"
#include "data_test_util.h"

namespace phalanx::data::jinja {
namespace {

std::string repeat(const std::string& text, int count) {
  std::string out;
  for (int i = 0; i < count; ++i) out += text;
  return out;
}

struct Row {
  std::string name, source;
  ErrorKind kind;
};

std::vector<Row> rows() {
  using enum ErrorKind;
  const std::string big = "{% set ns = namespace(x='aaaaaaaaaaaaaaaa') %}";
  return {
      {"range of 10^9", "{% for i in range(10**9) %}x{% endfor %}", kSteps},
      {"nested loops", "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
       kSteps},
      {"recursive macro", "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", kDepth},
      {"mutually recursive macros",
       "{% macro a() %}{{ b() }}{% endmacro %}{% macro b() %}{{ a() }}{% endmacro %}{{ a() }}", kDepth},
      {"recursion through a namespace",
       "{% set ns = namespace() %}{% macro m() %}{{ ns.f() }}{% endmacro %}{% set ns.f = m %}{{ m() }}",
       kDepth},
      {"include", "{% include 'x' %}", kUnsupported},
      {"import", "{% import 'x' as y %}", kUnsupported},
      {"extends", "{% extends 'x' %}", kUnsupported},
      {"repeated text", "{{ 'a' * 10**9 }}", kOutput},
      {"repeated list", "{{ ([1] * 10**9) | length }}", kOutput},
      {"repeated empty product", "{{ 'a' * 9223372036854775807 }}", kOutput},
      {"doubling text", big + "{% for i in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}", kOutput},
      {"doubling text in place", "{% set x = 'aaaa' %}" + repeat("{% set x = x ~ x %}", 60), kOutput},
      {"shared lists printed", "{% set x = [1] %}" + repeat("{% set x = [x, x] %}", 60) + "{{ x }}", kOutput},
      {"shared lists as JSON", "{% set x = [1] %}" + repeat("{% set x = [x, x] %}", 60) + "{{ x | tojson }}",
       kOutput},
      {"shared lists compared",
       "{% set x = [1] %}{% set y = [1] %}" + repeat("{% set x = [x, x] %}{% set y = [y, y] %}", 60) +
           "{{ x == y }}",
       kSteps},
      {"shared lists sought",
       "{% set x = [1] %}{% set y = [1] %}" + repeat("{% set x = [x, x] %}{% set y = [y, y] %}", 60) +
           "{{ x in [y] }}",
       kSteps},
      {"deep list",
       "{% set ns = namespace(x=[]) %}{% for i in range(1000) %}{% set ns.x = [ns.x] %}{% endfor %}", kDepth},
      {"output", "{% set x = 'a' * 1000000 %}{% for i in range(100) %}{{ x }}{% endfor %}", kOutput},
      {"replace that grows", "{{ ('a' * 1000000) | replace('a', 'b' * 1000) | length }}", kOutput},
      {"replace of nothing", "{{ ('a' * 1000000).replace('', 'b' * 1000) | length }}", kOutput},
      {"join that grows", "{{ (['a' * 1000000] * 1000) | join | length }}", kOutput},
      {"indent that grows", "{{ ('\\n' * 1000000) | indent(1000, true, true) | length }}", kOutput},
      {"tojson with a wide indent", "{{ ([1] * 900000) | tojson(indent=64) | length }}", kOutput},
      {"power", "{{ 9**9**9 }}", kArithmetic},
      {"integer division by zero", "{{ 1 // 0 }}", kArithmetic},
      {"division by zero", "{{ 1 / 0 }}", kArithmetic},
      {"modulo zero", "{{ 1 % 0 }}", kArithmetic},
      {"modulo zero float", "{{ 1.5 % 0 }}", kArithmetic},
      {"least integer divided by -1", "{{ (-9223372036854775807 - 1) // -1 }}", kArithmetic},
      {"least integer negated", "{{ -(-9223372036854775807 - 1) }}", kArithmetic},
      {"least integer's abs", "{{ (-9223372036854775807 - 1) | abs }}", kArithmetic},
      {"sum overflow", "{{ 9223372036854775807 + 1 }}", kArithmetic},
      {"product overflow", "{{ 9223372036854775807 * 2 }}", kArithmetic},
      {"literal overflow", "{{ 9223372036854775808 }}", kArithmetic},
      {"int of a large text", "{{ '99999999999999999999' | int }}", kArithmetic},
      {"int of a large float", "{{ 1e300 | int }}", kArithmetic},
      {"class", "{{ ''.__class__.__mro__ }}", kAttribute},
      {"class by subscript", "{{ ''['__class__'] }}", kAttribute},
      {"globals of cycler", "{{ cycler.__init__.__globals__ }}", kAttribute},
      {"globals of a function", "{{ range.__globals__ }}", kAttribute},
      {"dict of a namespace", "{{ namespace().__dict__ }}", kAttribute},
      {"underscore in a namespace", "{% set ns = namespace() %}{% set ns._x = 1 %}", kAttribute},
      {"underscore given to a namespace", "{{ namespace(_a=1) }}", kAttribute},
      {"attr", "{{ '' | attr('__class__') }}", kAttribute},
      {"map to an attribute", "{{ [''] | map(attribute='__class__') | list }}", kAttribute},
      {"format filter", "{{ '%s' | format(1) }}", kAttribute},
      {"format operator", "{{ '{0.__class__}' % 1 }}", kAttribute},
      {"format method", "{{ '{0.__class__}'.format(1) }}", kAttribute},
      {"list append", "{{ [].append(1) }}", kAttribute},
      {"dict update", "{{ {}.update({}) }}", kAttribute},
      {"self", "{{ self.x }}", kUndefined},
      {"lipsum", "{{ lipsum() }}", kUndefined},
      {"unterminated block", "{% if", kSyntax},
      {"unterminated print", "{{ a", kSyntax},
      {"unterminated string", "{{ 'a }}", kSyntax},
      {"unterminated comment", "{# a", kSyntax},
      {"unterminated raw", "{% raw %} a", kSyntax},
      {"open tags", repeat("{%", 300'000), kSyntax},
      {"parentheses", "{{ " + repeat("(", 100'000) + "1" + repeat(")", 100'000) + " }}", kDepth},
      {"brackets", "{{ " + repeat("[", 100'000) + repeat("]", 100'000) + " }}", kDepth},
      {"braces", "{{ " + repeat("{1:", 100'000) + "1" + repeat("}", 100'000) + " }}", kDepth},
      {"not", "{{ " + repeat("not ", 100'000) + "1 }}", kDepth},
      {"minus", "{{ " + repeat("-", 100'000) + "1 }}", kDepth},
      {"sum of many", "{{ 1" + repeat(" + 1", 100'000) + " }}", kDepth},
      {"attributes", "{{ x" + repeat(".a", 100'000) + " }}", kDepth},
      {"filters", "{{ x" + repeat("|trim", 100'000) + " }}", kDepth},
      {"calls", "{{ x" + repeat("()", 100'000) + " }}", kDepth},
      {"conditions", "{{ " + repeat("1 if 1 else ", 50'000) + "1 }}", kDepth},
      {"nested blocks", repeat("{% if 1 %}", 50'000), kDepth},
      {"raise_exception", "{{ raise_exception('no') }}", kRaised},
      {"large source", std::string((1 << 20) + 1, 'a'), kOutput},
      {"invalid UTF-8", "a\xff", kSyntax},
      {"lone surrogate", "{{ '\\ud800' }}", kSyntax},
  };
}

class JinjaAbuse : public ::testing::TestWithParam<Row> {};

TEST_P(JinjaAbuse, IsRefusedQuickly) {
  const Row& row = GetParam();
  const auto start = std::chrono::steady_clock::now();
  try {
    const Program program = parse(row.source);
    Interpreter(program, {}, Limits{}, 0).run();
    ADD_FAILURE() << row.name << ": no error";
  } catch (const TemplateError& error) {
    EXPECT_EQ(static_cast<int>(error.kind()), static_cast<int>(row.kind)) << row.name << ": " << error.what();
    EXPECT_LT(std::string(error.what()).size(), 500u) << row.name;
  }
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
  EXPECT_LT(elapsed.count(), 5.0) << row.name;  // 1 s on an idle machine
}

INSTANTIATE_TEST_SUITE_P(Rows, JinjaAbuse, ::testing::ValuesIn(rows()), [](const auto& info) {
  std::string name = info.param.name;
  for (char& c : name) {
    if (std::isalnum(static_cast<unsigned char>(c)) == 0) c = '_';
  }
  return name;
});

TEST(JinjaErrors, ShowsARaisedMessageCutAndEscaped) {
  const Program program = parse("{{ raise_exception(text) }}");
  const std::string text = "\x1b[31m bad\n" + std::string(10'000'000, 'x');
  const std::string message = error_of([&] {
    Interpreter(program, {{"text", Value(text)}}, Limits{}, 0).run();
  });
  EXPECT_LT(message.size(), 400u);
  EXPECT_EQ(message.find('\x1b'), std::string::npos);
}

TEST(JinjaErrors, NamesTheLine) {
  const Program program = parse("a\n{{ 1 }}\n{{ messages.x.y }}\n");
  const std::string message = error_of([&] { Interpreter(program, {}, Limits{}, 0).run(); });
  EXPECT_NE(message.find("line 3"), std::string::npos) << message;
  EXPECT_NE(message.find("'messages' is undefined"), std::string::npos) << message;
}

TEST(JinjaErrors, FreesNamespacesThatHoldOneAnother) {
  const Program program =
      parse("{% set a = namespace() %}{% set b = namespace(a=a) %}{% set a.b = b %}{% set a.c = [a] %}ok");
  EXPECT_EQ(Interpreter(program, {}, Limits{}, 0).run().text, "ok");
}

}  // namespace
}  // namespace phalanx::data::jinja
