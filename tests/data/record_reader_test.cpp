#include "data/record_reader.h"

#include <gtest/gtest.h>

#include "data_test_util.h"

namespace phalanx::data {
namespace {

/// What became of a file: the records as Python prints them, or their problem; with the line of each.
struct ReadBack {
  std::string container;
  std::vector<std::string> records;
  std::vector<int64_t> lines;
  std::vector<uint64_t> bytes;
};

ReadBack read_back(const std::string& path, const std::string& documents = "file") {
  const auto reader = open_records(path, {documents});
  ReadBack result{std::string(reader->container()), {}, {}, {}};
  for (RawRecord record; reader->next(record);) {
    std::string text = "! " + record.problem;
    if (record.problem.empty()) {
      try {
        text = jinja::repr(reader->parse(record));
      } catch (const core::Error& error) {
        text = std::string("! ") + error.what();
      }
    }
    result.records.push_back(text);
    result.lines.push_back(record.line);
    result.bytes.push_back(record.byte);
  }
  return result;
}

using Texts = std::vector<std::string>;
using Lines = std::vector<int64_t>;

class RecordFile : public ::testing::Test {
 protected:
  ReadBack read(const std::string& name, const std::string& text, const std::string& documents = "file") {
    return read_back(folder_.write(name, text), documents);
  }
  std::string refused(const std::string& name, const std::string& text) {
    return error_of([&] { read(name, text); });
  }
  /// Does record `i` of the file have a problem that says so?
  void expect_problem(const ReadBack& file, size_t i, const std::string& says) {
    ASSERT_LT(i, file.records.size());
    EXPECT_TRUE(file.records[i].starts_with("! ")) << file.records[i];
    EXPECT_NE(file.records[i].find(says), std::string::npos) << file.records[i];
  }
  TemporaryFolder folder_;
};

TEST_F(RecordFile, IsKnownByItsName) {
  for (const char* name :
       {"a.jsonl", "a.ndjson", "a.json", "a.csv", "a.tsv", "a.txt", "a.csv.gz", "a.txt.zst"})
    EXPECT_TRUE(is_record_file(name)) << name;
  for (const char* name : {"a.parquet.gz", "a.gguf", "a", "a.gz", "a.jsonl.bz2"})
    EXPECT_FALSE(is_record_file(name));
  EXPECT_NE(refused("a.xml", "<a/>").find("known are .jsonl"), std::string::npos);
}

TEST_F(RecordFile, OfAJsonArrayGivesItsItemsWithTheirPlaces) {
  const ReadBack file = read("a.json", "\n [ {\"a\": \"x],}\\\"\"},\n{\"b\": [1, {\"c\": []}]} , 3\n]\n ");
  EXPECT_EQ(file.container, "JSON array");
  EXPECT_EQ(file.records, (Texts{"{'a': 'x],}\"'}", "{'b': [1, {'c': []}]}", "3"}));
  EXPECT_EQ(file.lines, (Lines{2, 3, 3}));
  EXPECT_EQ(file.bytes, (std::vector<uint64_t>{4, 21, 45}));
}

TEST_F(RecordFile, OfAnEmptyJsonArrayHasNone) {
  EXPECT_TRUE(read("a.json", "[]").records.empty());
  EXPECT_TRUE(read("b.json", " [ \n ] ").records.empty());
}

TEST_F(RecordFile, NamedJsonMayHoldJsonLines) {
  const ReadBack file = read("a.json", "\n{\"a\":1}\n{\"a\":2}\n");
  EXPECT_EQ(file.container, "JSON lines");
  EXPECT_EQ(file.records, (Texts{"{'a': 1}", "{'a': 2}"}));
}

TEST_F(RecordFile, KeepsGoodItemsBesideABrokenOne) {
  const ReadBack file = read("a.json", "[{\"a\":1}, {\"a\":}, , {\"a\":\"\xff\"}, {\"a\":2},]");
  ASSERT_EQ(file.records.size(), 6u);
  EXPECT_EQ(file.records[0], "{'a': 1}");
  EXPECT_EQ(file.records[4], "{'a': 2}");
  for (const size_t i : {1u, 2u, 3u, 5u}) expect_problem(file, i, "not valid JSON");
}

TEST_F(RecordFile, OfAJsonArrayThatIsCutShortSaysSoInItsLastRecord) {
  for (const char* text : {"[{\"a\":1},{\"a\":2", "[{\"a\":1},", "[{\"a\":1},{\"a\":\"x]"}) {
    const ReadBack file = read("a.json", text);
    ASSERT_EQ(file.records.size(), 2u) << text;
    EXPECT_EQ(file.records[0], "{'a': 1}");
    expect_problem(file, 1, "ends inside of the array");
  }
  expect_problem(read("a.json", "[{\"a\":1}"), 0, "ends inside of the array");
  expect_problem(read("a.json", "["), 0, "ends inside of the array");
}

TEST_F(RecordFile, OfAJsonArrayEndsWithIt) {
  EXPECT_NE(refused("a.json", "[{\"a\":1}] {\"a\":2}").find("behind the array's end"), std::string::npos);
}

TEST_F(RecordFile, SurvivesHugeNesting) {
  const std::string deep(1'000'000, '[');
  expect_problem(read("a.json", "[" + deep + "]"), 0, "ends inside of the array");
  const ReadBack closed = read("a.json", "[" + deep + std::string(1'000'000, ']') + ",{\"a\":1}]");
  expect_problem(closed, 0, "not valid JSON");
  EXPECT_EQ(closed.records[1], "{'a': 1}");
  EXPECT_EQ(read("a.json", "[" + std::string(1000, '}') + ",{\"a\":1}]").records.size(), 2u);
}

TEST_F(RecordFile, OfCsvHasTheHeadersFields) {
  const ReadBack file = read("a.csv",
                             "\xef\xbb\xbfprompt,\"completion\",\r\n"
                             "a,b,\r\n"
                             "\r\n"
                             "\"x, \"\"y\"\"\r\nz\",\" q \",\"\"\r\n"
                             "last,\u00e9,1");
  EXPECT_EQ(file.container, "CSV");
  EXPECT_EQ(file.records, (Texts{"{'prompt': 'a', 'completion': 'b', '': ''}",
                                 "{'prompt': 'x, \"y\"\\r\\nz', 'completion': ' q ', '': ''}",
                                 "{'prompt': 'last', 'completion': '\u00e9', '': '1'}"}));
  EXPECT_EQ(file.lines, (Lines{2, 4, 6}));
  EXPECT_EQ(read("a.tsv", "text\tx\na,b\t\"c\td\"\n").records, (Texts{"{'text': 'a,b', 'x': 'c\\td'}"}));
}

TEST_F(RecordFile, OfCsvWithBrokenRowsKeepsTheOthers) {
  const ReadBack file = read("a.csv", "a,b\n1\n1,2,3\n\"1\"x,2\n1\"1,2\n1,\xff\nok,ok\n1,\"open\n...\n");
  ASSERT_EQ(file.records.size(), 7u);
  expect_problem(file, 0, "has 1 fields but the header names 2");
  expect_problem(file, 1, "has 3 fields");
  expect_problem(file, 2, "behind its closing quote");
  expect_problem(file, 3, "does not begin with one");
  expect_problem(file, 4, "UTF-8");
  EXPECT_EQ(file.records[5], "{'a': 'ok', 'b': 'ok'}");
  expect_problem(file, 6, "a quote is not closed");
  EXPECT_EQ(file.lines, (Lines{2, 3, 4, 5, 6, 7, 8}));
}

TEST_F(RecordFile, OfCsvNeedsAUsableHeader) {
  EXPECT_NE(refused("a.csv", "").find("is empty"), std::string::npos);
  EXPECT_NE(refused("a.csv", "a,b,a\n1,2,3\n").find("\"a\" is named twice"), std::string::npos);
  EXPECT_NE(refused("a.csv", "a,\"b\n1,2\n").find("not closed"), std::string::npos);
  EXPECT_NE(refused("a.csv", "a,\xff\n").find("UTF-8"), std::string::npos);
}

TEST_F(RecordFile, OfTextIsOneDocumentOrSeveral) {
  const std::string text = "\n  first line\nsecond\r\n\n \t\nother\n\n";
  EXPECT_EQ(read("a.txt", text).records, (Texts{"{'text': '  first line\\nsecond\\r\\n\\n \\t\\nother'}"}));
  const ReadBack paragraphs = read("a.txt", text, "paragraph");
  EXPECT_EQ(paragraphs.records, (Texts{"{'text': '  first line\\nsecond'}", "{'text': 'other'}"}));
  EXPECT_EQ(paragraphs.lines, (Lines{2, 6}));
  EXPECT_EQ(paragraphs.bytes, (std::vector<uint64_t>{1, 26}));
  EXPECT_EQ(read("a.txt", text, "line").records,
            (Texts{"{'text': '  first line'}", "{'text': 'second'}", "{'text': 'other'}"}));
  EXPECT_TRUE(read("a.txt", " \n\n").records.empty());
  expect_problem(read("a.txt", "a\n\xff"), 0, "UTF-8");
}

TEST_F(RecordFile, LongerThan64MiBIsReportedAndTheNextOneIsFound) {
  const std::string longest(kMaxRecordBytes + 1, 'x');
  const ReadBack array = read("a.json", "[{\"a\":\"" + longest + "\"},{\"a\":1}]");
  ASSERT_EQ(array.records.size(), 2u);
  expect_problem(array, 0, "longer than 64 MiB");
  EXPECT_EQ(array.records[1], "{'a': 1}");
  const ReadBack csv = read("a.csv", "a\n" + longest + "\n1\n");
  ASSERT_EQ(csv.records.size(), 2u);
  expect_problem(csv, 0, "longer than 64 MiB");
  EXPECT_EQ(csv.records[1], "{'a': '1'}");
  const ReadBack text = read("a.txt", longest + "\n\nb\n", "paragraph");
  ASSERT_EQ(text.records.size(), 2u);
  expect_problem(text, 0, "longer than 64 MiB");
  EXPECT_EQ(text.records[1], "{'text': 'b'}");
}

}  // namespace
}  // namespace phalanx::data
