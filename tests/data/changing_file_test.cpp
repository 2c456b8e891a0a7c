// Files of records, and the cache of their tokens, that somebody changes while they are read.
#include <gtest/gtest.h>

#include <filesystem>

#include "core/log.h"
#include "data/dataset.h"
#include "data/prepare.h"
#include "data/record_reader.h"
#include "data_test_util.h"
#include "fake_tokenizer.h"

namespace phalanx::data {
namespace {

namespace fs = std::filesystem;

constexpr int kRecords = 300'000;  // 4 MB: several buffers, packed too

std::string numbered_records() {
  std::string text;
  for (int i = 0; i < kRecords; ++i) text += fmt::format("{{\"n\":{}}}\n", int64_t{i} * 7919 * 7919);
  return text;
}

/// Reads the first record, changes the file, and reads the rest: the number of records, or the error.
std::string records_around(const std::string& path, const std::function<void()>& change) {
  const auto reader = open_records(path);
  RawRecord record;
  EXPECT_TRUE(reader->next(record));
  change();
  int count = 1;
  try {
    while (reader->next(record)) ++count;
  } catch (const core::Error& error) {
    EXPECT_EQ(int(error.code()), int(core::ExitCode::kBadInput));
    EXPECT_NE(std::string(error.what()).find(fs::path(path).filename().string()), std::string::npos);
    return error.what();
  }
  return std::to_string(count);
}

TEST(ChangingRecords, AreAnErrorThatSaysSoAndARemovedFileIsReadToItsEnd) {
  const std::string text = numbered_records();
  const std::vector<std::pair<std::string, std::string>> files = {
      {"a.jsonl", text}, {"a.jsonl.gz", gzip(text)}, {"a.jsonl.zst", zstd(text)}};
  for (const auto& file : files) {
    const std::string &name = file.first, &bytes = file.second;  // a lambda cannot capture bindings
    SCOPED_TRACE(name);
    const TemporaryFolder folder;
    const std::string path = folder.path(name);
    const std::string says =
        "was written while it was read: it had " + std::to_string(bytes.size()) + " bytes";
    const auto around = [&](const std::function<void()>& change) {
      folder.write(name, bytes);
      return records_around(path, change);
    };
    const std::string whole = std::to_string(kRecords);
    EXPECT_EQ(around([] {}), whole);
    EXPECT_EQ(around([&] { fs::remove(path); }), whole);
    for (const size_t size :
         {bytes.size() + 1, bytes.size() * 2, bytes.size() - 1, bytes.size() / 2, size_t{0}})
      EXPECT_NE(around([&] { fs::resize_file(path, size); }).find(says), std::string::npos) << size;
    EXPECT_NE(around([&] {
                folder.write("other", "{}\n");
                fs::rename(folder.path("other"), path);
              }).find(says),
              std::string::npos);
  }
}

TEST(ChangingRecords, OfAFileThatGrowsFasterThanItIsReadComeToAnEnd) {
  const TemporaryFolder folder;
  const std::string path = folder.write("a.jsonl", "{}\n{}\n");
  const auto reader = open_records(path);
  std::ofstream log(path, std::ios::app);
  const std::string message = error_of([&] {
    for (RawRecord record; reader->next(record);) log << "{}\n{}\n{}\n" << std::flush;
  });
  EXPECT_NE(message.find("was written while it was read"), std::string::npos) << message;
}

class ChangingTokens : public ::testing::Test {
 protected:
  ChangingTokens() {
    core::set_up_log({.is_quiet = true});
    std::string text;
    for (int i = 0; i < 2000; ++i)
      text += "{\"prompt\":\"a\",\"completion\":\"" + std::string(30, 'c') + "\"}\n";
    options_.sources = {{folder_.write("a.jsonl", text)}};
    options_.data.sequence_length = 64;
    options_.data.loss_on = "completion";
    options_.cache_dir = folder_.path("cache");
    options_.quarantine = folder_.path("quarantine.jsonl");
  }
  ~ChangingTokens() override { core::set_up_log({}); }
  std::string cache_file() const { return fs::directory_iterator(folder_.path("cache"))->path().string(); }

  TemporaryFolder folder_;
  PrepareOptions options_;
  FakeTokenizer tokenizer_ = chatml_tokenizer();
};

TEST_F(ChangingTokens, AreAnErrorAndNotADeath) {
  for (const double kept : {0.0, 0.1, 0.5, 0.9, 0.999}) {
    const Dataset dataset = prepare(options_, tokenizer_);
    const std::string path = cache_file();
    fs::resize_file(path, static_cast<uint64_t>(static_cast<double>(fs::file_size(path)) * kept));
    for (const int64_t index : {int64_t{0}, dataset.num_sequences() - 1}) {
      EXPECT_NE(error_of([&] { dataset.sequence(index); }).find("went from"), std::string::npos) << kept;
      EXPECT_NE(error_of([&] { dataset.value(index); }).find("went from"), std::string::npos) << kept;
    }
  }
}

TEST_F(ChangingTokens, OfACacheThatWasRemovedOrRebuiltStayInTheMapping) {
  const Dataset dataset = prepare(options_, tokenizer_);
  const Sequence before = dataset.sequence(7);
  fs::remove(cache_file());
  EXPECT_EQ(dataset.sequence(7).input_ids, before.input_ids);
  prepare(options_, tokenizer_);
  EXPECT_EQ(dataset.sequence(7).input_ids, before.input_ids);
}

}  // namespace
}  // namespace phalanx::data
