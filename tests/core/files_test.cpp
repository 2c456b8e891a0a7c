#include "core/files.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "core/error.h"
#include "core/hash.h"

namespace phalanx::core {
namespace {

class Files : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = ::testing::TempDir() + "phx_files_XXXXXX";
    folder_ = ::mkdtemp(pattern.data());
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::string path(const std::string& name) const { return folder_ + "/" + name; }
  void put(const std::string& name, const std::string& content) const {
    std::ofstream(path(name)) << content;
  }

  template <typename Action>
  static std::string message_of(Action action) {
    try {
      action();
    } catch (const Error& error) {
      return error.what();
    }
    return "(no error)";
  }

  std::string folder_;
};

TEST_F(Files, ReadFileReturnsTheContent) {
  put("a", std::string("x\0y\n", 4));
  EXPECT_EQ(read_file(path("a"), 4), std::string("x\0y\n", 4));
  put("empty", "");
  EXPECT_EQ(read_file(path("empty"), 0), "");
}

TEST_F(Files, ReadFileNamesThePathAndTheReason) {
  put("a", "12345");
  ::mkfifo(path("pipe").c_str(), 0600);  // must not block
  EXPECT_EQ(message_of([&] { read_file(path("a"), 4); }), path("a") + ": has 5 bytes, at most 4 are allowed");
  EXPECT_EQ(message_of([&] { read_file(path("none"), 4); }),
            path("none") + ": cannot be opened: No such file or directory");
  EXPECT_EQ(message_of([&] { read_file(folder_, 4); }), folder_ + ": is a folder, a file is needed");
  EXPECT_EQ(message_of([&] { read_file("/dev/zero", 4); }),
            "/dev/zero: is not a regular file; pipes and devices are not read");
  EXPECT_EQ(message_of([&] { read_file(path("pipe"), 4); }),
            path("pipe") + ": is not a regular file; pipes and devices are not read");
}

TEST_F(Files, WriteFileAtomicReplacesAndLeavesNothingBehind) {
  write_file_atomic(path("a"), "old");
  write_file_atomic(path("a"), "new content");
  EXPECT_EQ(read_file(path("a"), 100), "new content");
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder_), {}), 1);
}

TEST_F(Files, WriteFileAtomicKeepsTheOldFileAndCleansUpWhenItFails) {
  std::filesystem::create_directory(path("taken"));
  put("taken/x", "");
  const std::string message = message_of([&] { write_file_atomic(path("taken"), "new"); });
  EXPECT_NE(message.find("taken: cannot be replaced: "), std::string::npos) << message;
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder_), {}), 1);
  EXPECT_NE(message_of([&] {
              write_file_atomic(path("no/such/a"), "");
            }).find("cannot be created: No such file or directory"),
            std::string::npos);
}

TEST_F(Files, WriteFileAtomicReportsAFullDiskAsStorage) {
  if (::access("/dev/full", W_OK) != 0) GTEST_SKIP() << "no /dev/full";
  ::symlink("/dev/full", path("full").c_str());
  // The write goes to a temporary file beside it, so the device is replaced, never written.
  write_file_atomic(path("full"), "x");
  EXPECT_EQ(read_file(path("full"), 10), "x");
}

TEST_F(Files, SyncsNameWhatIsMissing) {
  fsync_directory(folder_);
  put("a", "x");
  fsync_file(path("a"));
  EXPECT_EQ(message_of([&] { fsync_directory(path("none")); }),
            path("none") + ": cannot be opened: No such file or directory");
  EXPECT_EQ(message_of([&] { fsync_directory(path("a")); }),
            path("a") + ": cannot be opened: Not a directory");
}

TEST_F(Files, MakeDirectoriesMakesParentsAndRefusesAFileInTheWay) {
  make_directories(path("x/y/z"));
  make_directories(path("x/y/z"));
  EXPECT_TRUE(std::filesystem::is_directory(path("x/y/z")));
  put("file", "");
  EXPECT_NE(message_of([&] { make_directories(path("file/z")); }).find("cannot be created: "),
            std::string::npos);
}

TEST_F(Files, FreeSpaceIsKnownForPathsThatDoNotExistYet) {
  EXPECT_GT(free_space_bytes(folder_), 0u);
  EXPECT_GT(free_space_bytes(path("not/there/yet")), 0u);
}

TEST_F(Files, MappedFileShowsTheBytesAndMoves) {
  put("a", "hello mapped world");
  MappedFile first(path("a"));
  EXPECT_EQ(first.text(), "hello mapped world");
  MappedFile second(std::move(first));
  EXPECT_EQ(second.size(), 18u);
  EXPECT_EQ(first.size(), 0u);
  put("b", "other");
  second = MappedFile(path("b"));
  EXPECT_EQ(second.text(), "other");
  second.will_not_need(3, 1'000'000);
  EXPECT_EQ(second.text(), "other");
  put("empty", "");
  EXPECT_TRUE(MappedFile(path("empty")).bytes().empty());
}

TEST_F(Files, MappedFileRefusesFoldersDevicesAndChangedFiles) {
  EXPECT_EQ(message_of([&] { MappedFile{folder_}; }), folder_ + ": is a folder, a file is needed");
  EXPECT_EQ(message_of([&] { MappedFile{path("none")}; }),
            path("none") + ": cannot be opened: No such file or directory");
  put("a", "0123456789");
  const MappedFile file(path("a"));
  file.check_unchanged();
  ASSERT_EQ(::truncate(path("a").c_str(), 4), 0);
  EXPECT_EQ(message_of([&] { file.check_unchanged(); }),
            path("a") + ": went from 10 to 4 bytes while it was read; start again when nobody writes it");
}

TEST_F(Files, HashesAreThoseOfTheXxhashSpecification) {
  EXPECT_EQ(xxh3_64(""), 0x2d06800538d394c2u);
  EXPECT_EQ(xxh3_128("").hex(), "99aa06d3014798d86001c324468d497f");
  put("a", std::string(3'000'000, 'q'));
  EXPECT_EQ(hash_file(path("a")), xxh3_128(std::string(3'000'000, 'q')));
}

TEST_F(Files, HasherGivesTheSameHashForAnySplit) {
  const std::string text(100'000, 'z');
  Hasher parts;
  for (size_t i = 0; i < text.size(); i += 777) parts.add(std::string_view(text).substr(i, 777));
  EXPECT_EQ(parts.digest_128(), xxh3_128(text));
  EXPECT_EQ(parts.digest_64(), xxh3_64(text));
}

TEST_F(Files, HasherFieldsCannotRunIntoEachOther) {
  Hasher a, b;
  a.add_field("ab");
  a.add_field("c");
  b.add_field("a");
  b.add_field("bc");
  EXPECT_NE(a.digest_128(), b.digest_128());
}

}  // namespace
}  // namespace phalanx::core
