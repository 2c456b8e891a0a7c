#include <gtest/gtest.h>
#include <sys/stat.h>

#include "data/json_lines.h"
#include "data_test_util.h"

namespace phalanx::data {
namespace {

std::vector<RawRecord> read_all(const std::string& path) {
  std::vector<RawRecord> lines;
  JsonLines reader(path);
  for (RawRecord line; reader.next(line);) lines.push_back(line);
  return lines;
}

std::vector<std::string> texts(const std::vector<RawRecord>& lines) {
  std::vector<std::string> out;
  for (const RawRecord& line : lines) out.push_back(line.text);
  return out;
}

using Texts = std::vector<std::string>;

TEST(JsonLines, KeepNumberAndByteOfEachLine) {
  const TemporaryFolder folder;
  const auto lines = read_all(folder.write("a.jsonl", "{\"a\":1}\n\n  \n{\"b\":2}\n{\"c\":3}"));
  EXPECT_EQ(texts(lines), (Texts{"{\"a\":1}", "{\"b\":2}", "{\"c\":3}"}));
  EXPECT_EQ(lines[1].line, 4);
  EXPECT_EQ(lines[1].byte, 12u);
  EXPECT_EQ(lines[2].line, 5);
  EXPECT_EQ(lines[2].byte, 20u);
}

TEST(JsonLines, AcceptCrlfAndABomAndKeepLineSeparatorsInsideStrings) {
  const TemporaryFolder folder;
  const auto lines = read_all(folder.write("a.jsonl", "\xef\xbb\xbf{\"a\":1}\r\n\r\n\"x\u2028\u0085y\"\r\n"));
  EXPECT_EQ(texts(lines), (Texts{"{\"a\":1}", "\"x\u2028\u0085y\""}));
  EXPECT_EQ(lines[0].byte, 3u);
  EXPECT_EQ(lines[1].line, 3);
}

TEST(JsonLines, OfAnEmptyFileAreNone) {
  const TemporaryFolder folder;
  for (const char* text : {"", "\n", "\xef\xbb\xbf", " \r\n\t\n"})
    EXPECT_TRUE(read_all(folder.write("a.jsonl", text)).empty());
  EXPECT_TRUE(read_all(folder.write("a.jsonl.gz", gzip(""))).empty());
  EXPECT_TRUE(read_all(folder.write("a.jsonl.zst", zstd(""))).empty());
}

TEST(JsonLines, OfMoreThan64MiBAreReportedAndTheNextLineIsFound) {
  const TemporaryFolder folder;
  const std::string longest(JsonLines::kMaxLineBytes, 'x');
  const auto lines = read_all(folder.write("a.jsonl", "1\n" + longest + "\n" + longest + "y\n2\n"));
  ASSERT_EQ(lines.size(), 4u);
  EXPECT_EQ(lines[1].text.size(), JsonLines::kMaxLineBytes);
  EXPECT_TRUE(lines[1].problem.empty());
  EXPECT_NE(lines[2].problem.find("64 MiB"), std::string::npos);
  EXPECT_EQ(lines[3].text, "2");
  EXPECT_EQ(lines[3].line, 4);
  EXPECT_EQ(lines[3].byte, 2 + 2 * JsonLines::kMaxLineBytes + 3);
}

TEST(JsonLines, AreUnpackedFromGzipAndZstdWithSeveralMembers) {
  const TemporaryFolder folder;
  std::string text;
  for (int i = 0; i < 200'000; ++i) text += "{\"n\":" + std::to_string(i) + "}\n";  // 2.7 MB: several buffers
  const std::string half = text.substr(0, text.size() / 2), rest = text.substr(text.size() / 2);
  const auto plain = texts(read_all(folder.write("a.jsonl", text)));
  EXPECT_EQ(plain.size(), 200'000u);
  EXPECT_EQ(texts(read_all(folder.write("a.jsonl.gz", gzip(half) + gzip(rest)))), plain);
  EXPECT_EQ(texts(read_all(folder.write("a.jsonl.zst", zstd(half) + zstd(rest)))), plain);
}

TEST(JsonLines, OfHighlyPackedDataComeOutWhole) {
  const TemporaryFolder folder;
  const std::string line(1 << 20, 'a');  // one buffer exactly, again and again
  for (const int count : {1, 2, 7, 40}) {
    std::string text;
    for (int i = 0; i < count; ++i) text += line + "\n";
    EXPECT_EQ(read_all(folder.write("a.jsonl.zst", zstd(text))).size(), static_cast<size_t>(count));
    EXPECT_EQ(read_all(folder.write("a.jsonl.gz", gzip(text))).size(), static_cast<size_t>(count));
    EXPECT_EQ(read_all(folder.write("b.jsonl.zst", zstd(std::string(static_cast<size_t>(count) << 20, 'a'))))
                  .size(),
              1u);
  }
}

TEST(JsonLines, OfAPackedBombAreRefused) {
  const TemporaryFolder folder;
  const std::string zeros(size_t{80} << 20, '\n');
  for (const auto& path :
       {folder.write("a.jsonl.zst", zstd(zeros)), folder.write("a.jsonl.gz", gzip(zeros))}) {
    EXPECT_NE(error_of([&] { read_all(path); }).find("200 times"), std::string::npos);
  }
}

TEST(JsonLines, OfADamagedPackedFileAreRefused) {
  const TemporaryFolder folder;
  std::string text;
  for (int i = 0; i < 10'000; ++i) text += "{\"n\":" + std::to_string(i * 7919) + "}\n";
  for (const std::string& packed : {gzip(text), zstd(text)}) {
    const std::string name = packed[0] == '\x1f' ? "a.jsonl.gz" : "a.jsonl.zst";
    EXPECT_NE(error_of([&] { read_all(folder.write(name, packed.substr(0, packed.size() / 2))); }).find(name),
              std::string::npos);
    error_of([&] { read_all(folder.write(name, packed.substr(0, packed.size() - 1))); });
    error_of([&] { read_all(folder.write(name, packed + "garbage")); });
    error_of([&] { read_all(folder.write(name, "not packed at all\n")); });
  }
}

TEST(JsonLines, NeedARegularFile) {
  const TemporaryFolder folder;
  EXPECT_NE(error_of([&] { JsonLines lines(folder.path("missing.jsonl")); }).find("no such file"),
            std::string::npos);
  error_of([&] { JsonLines lines(folder.path()); });
  const std::string pipe = folder.path("pipe.jsonl");
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  EXPECT_NE(error_of([&] { JsonLines lines(pipe); }).find("regular file"),
            std::string::npos);  // and does not wait for a writer
}

}  // namespace
}  // namespace phalanx::data
