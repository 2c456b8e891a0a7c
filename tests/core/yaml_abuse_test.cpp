// Hostile and careless YAML: each text is refused in one line, quickly, and nothing crashes.
#include <gtest/gtest.h>

#include <chrono>

#include "core/config.h"
#include "core/yaml_tree.h"

namespace phalanx::core {
namespace {

std::string repeat(const std::string& text, int times) {
  std::string all;
  for (int i = 0; i < times; ++i) all += text;
  return all;
}

std::string alias_bomb() {
  std::string text = "a: &a [\"l\", \"l\"]\n";
  for (char c = 'b'; c <= 'i'; ++c)
    text += std::string(1, c) + ": &" + c + " [" + repeat(std::string("*") + char(c - 1) + ",", 9) + "]\n";
  return text;
}

std::string many_anchors() {
  std::string text = "run:\n";
  for (int i = 0; i < 100'000; ++i) text += fmt::format("  k{}: &a{} 1\n", i, i);
  return text;
}

struct Abuse {
  std::string text;
  std::string first_error;  // after "c.yaml:"
};

const std::vector<Abuse>& abuses() {
  static const std::string kAnchor =
      "error: anchors (&name) are not supported; write the value out where it is used";
  static const std::vector<Abuse> rows = {
      // duplicate keys, at any depth and in either spelling
      {"run: {}\nrun: {}", "2:1: error: the key \"run\" is there twice, first in line 1; remove one"},
      {"run:\n  seed: 1\n  seed: 2",
       "3:3: error: the key \"seed\" is there twice, first in line 2; remove one"},
      {"run: {seed: 1, \"seed\": 2}",
       "1:16: error: the key \"seed\" is there twice, first in line 1; remove one"},
      // tabs
      {"run:\n\tseed: 3", "2:1: error: a tab in the indentation; YAML is indented by spaces"},
      {"run:\n  \tseed: 3", "2:3: error: a tab in the indentation; YAML is indented by spaces"},
      // anchors, aliases, merge keys
      {"run: &a {}", "1:6: " + kAnchor},
      {alias_bomb(), "1:4: " + kAnchor},
      {many_anchors(), "2:7: " + kAnchor},
      {"run: &a [*a]", "1:6: " + kAnchor},
      {"run: {name: *}", "1:14: error: not valid YAML: alias not found after *"},
      {"run: {name: *a}", "1:13: error: not valid YAML: the referenced anchor is not defined"},
      {"run:\n  <<: {seed: 1}", "2:3: error: merge keys (<<) are not supported; write the keys out"},
      // depth
      {repeat("[", 100'000),
       "1:1: error: a list or map cannot be a key; keys are plain words followed by ':'"},
      {"run: " + repeat("[", 100'000) + repeat("]", 100'000), "1:69: error: nested deeper than 64 levels"},
      {repeat("{a: ", 60'000), "1:"},
      {repeat("- ", 100'000), "1:129: error: nested deeper than 64 levels"},
      {repeat("? ", 100'000),
       "1:3: error: a list or map cannot be a key; keys are plain words followed by ':'"},
      // tags
      {"run: !!python/object/apply:os.system [\"id\"]",
       "1:6: error: the tag tag:yaml.org,2002:python/object/apply:os.system is not supported; write the "
       "plain value"},
      {"run: {name: !!binary aGk=}",
       "1:13: error: the tag tag:yaml.org,2002:binary is not supported; write the plain value"},
      {"run: {seed: !<x> 3}", "1:13: error: the tag x is not supported; write the plain value"},
      {"run: {seed: !!int \"3\"}",
       "1:13: error: the tag tag:yaml.org,2002:int is not supported; write the plain value"},
      // documents and directives
      {"run: {}\n---\nrun: {}", "2:1: error: a second document starts here; a config is one document"},
      {"run: {}\n...\n", "2:1: error: the end mark '...' is not supported; a config is one document"},
      {"%YAML 9.9\n---\nrun: {}", "1:1: error: the directive %YAML 9.9 is not supported; remove the line"},
      {"# c\n%TAG ! x\n---\nrun: {}", "2:1: error: the directive %TAG ! x is not supported; remove the line"},
      // encodings and sizes
      {"\xef\xbb\xbfrun: {}",
       "1:1: error: the file starts with a byte order mark; save it as UTF-8 without BOM"},
      {std::string("\xff\xfer\0u\0n\0", 8),
       "1:1: error: the file is UTF-16 or UTF-32, only UTF-8 is read; save it as UTF-8"},
      {std::string("\xfe\xff\0r\0u\0n", 8),
       "1:1: error: the file is UTF-16 or UTF-32, only UTF-8 is read; save it as UTF-8"},
      {std::string("r\0u\0n\0:\0", 8),
       "1:1: error: the file is UTF-16 or UTF-32, only UTF-8 is read; save it as UTF-8"},
      {std::string("\0\0\xfe\xff", 4),
       "1:1: error: the file is UTF-16 or UTF-32, only UTF-8 is read; save it as UTF-8"},
      {std::string("run: {name: a\0b}", 16), "1:14: error: the control character 0x00 is not allowed"},
      {"run: {name: \"\x1b[31m\"}", "1:14: error: the control character 0x1b is not allowed"},
      {"run: {name: \"\xff\"}", "1:14: error: the byte 0xff is not valid UTF-8"},
      {"run:\r  seed: 3\r", "1:5: error: a carriage return inside a line; lines end with LF or CR LF"},
      {"run: {}\r", "1:8: error: a carriage return without line feed; lines end with LF or CR LF"},
      {std::string((10 << 20) + 1, '\n'),
       "1:1: error: the file has 10485761 bytes, at most 10485760 are allowed"},
      {"run: {name: " + std::string(1 << 20, 'a') + "}",
       "1:1: error: the line has 1048589 bytes, at most 262144 are allowed"},
      {"run: [" + repeat("a,\n", 20'000) + "]", "9998:1: error: more than 10000 values in one config"},
      // broken syntax
      {"run: a: b",
       "1:7: error: not valid YAML: a ':' where none can be; check the indentation, or quote a text with ': "
       "' in it"},
      {"run:\n  name: x\n   seed: 3",
       "3:8: error: not valid YAML: a ':' where none can be; check the indentation, or quote a text with ': "
       "' in it"},
      {"run: {seed: 3\n", "2:1: error: not valid YAML: a '{' without its '}'"},
      {"run: [3\n", "2:1: error: not valid YAML: a '[' without its ']'"},
      {"run: {}\n]\n", "2:1: error: not valid YAML: a ']' or '}' that closes nothing"},
      {"run: {name: @x}",
       "1:13: error: not valid YAML: a character that cannot start a value; quote the text"},
      {"run: {name: \"\\q\"}", "1:16: error: not valid YAML: unknown escape character: q"},
      {"run: {name: \"\\ud800\"}", "1:20: error: not valid YAML: invalid unicode: 55296"},
      {"{[a]: 3}", "1:2: error: a list or map cannot be a key; keys are plain words followed by ':'"},
  };
  return rows;
}

TEST(YamlAbuse, IsRefusedInOneLineWithItsPlaceWithinASecond) {
  for (const Abuse& abuse : abuses()) {
    const auto start = std::chrono::steady_clock::now();
    try {
      Config::parse(abuse.text, "c.yaml");
      ADD_FAILURE() << "accepted: " << abuse.text.substr(0, 80);
    } catch (const ConfigErrors& errors) {
      EXPECT_TRUE(errors.lines()[0].starts_with("c.yaml:" + abuse.first_error))
          << errors.lines()[0] << "\nexpected " << abuse.first_error;
      for (const std::string& line : errors.lines()) {
        EXPECT_EQ(line.find('\n'), std::string::npos);
        EXPECT_EQ(printable(line, 10'000), line);
      }
    }
    const double elapsed_s = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    EXPECT_LT(elapsed_s, 2.0) << abuse.text.substr(0, 80);
  }
}

TEST(YamlAbuse, LeavesLegalYamlAlone) {
  const std::vector<std::string> legal = {"",
                                          "---\nrun: {}\n",
                                          "run:\r\n  seed: 3\r\n",
                                          "run: {name: no}\n",
                                          "run:\n  name: |\n    two\n    lines\n",
                                          "run: {name: 'it''s'}",
                                          "run: {name: \"a # b\"} # c",
                                          "run: {name: \"\u4e2d\"}",
                                          "run:   {seed: +3}\n\n\n",
                                          "{run: {seed: 1e3}}",
                                          "run: {name: \"x\ty\"}",
                                          "? run\n: {seed: 3}\n",
                                          "run: {seed: 3,}"};
  for (const std::string& text : legal) EXPECT_NO_THROW(Config::parse(text, "c.yaml")) << text;
}

TEST(ParseYaml, KeepsPositionsAndQuotes) {
  std::vector<Problem> problems;
  const YamlNode root = parse_yaml("a:\n  b: [x, \"y\"]\n", -1, problems);
  EXPECT_TRUE(problems.empty());
  const YamlEntry* a = root.find("a");
  ASSERT_NE(a, nullptr);
  const YamlEntry* b = a->value.find("b");
  ASSERT_NE(b, nullptr);
  EXPECT_EQ(b->position, (Position{-1, 2, 3}));
  EXPECT_EQ(b->value.items[1].position, (Position{-1, 2, 10}));
  EXPECT_FALSE(b->value.items[0].quoted);
  EXPECT_TRUE(b->value.items[1].quoted);
  EXPECT_EQ(root.find("z"), nullptr);
}

}  // namespace
}  // namespace phalanx::core
