#include "core/log.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include "core/config.h"
#include "core/files.h"

namespace phalanx::core {
namespace {

class Log : public ::testing::Test {
 protected:
  void TearDown() override { set_up_log({}); }

  template <typename Action>
  static std::string stderr_of(Action action) {
    testing::internal::CaptureStderr();
    action();
    return testing::internal::GetCapturedStderr();
  }
};

TEST_F(Log, WritesNotesToStderrAndNeverTheErrorMark) {
  set_up_log({});
  EXPECT_EQ(stderr_of([] { log_note("read {} records", 3); }), "read 3 records\n");
  EXPECT_EQ(stderr_of([] { log_warning("the file said error: 1, error: 2"); }),
            "note: the file said error - 1, error - 2\n");
}

TEST_F(Log, OnlyRank0PrintsNotes) {
  set_up_log({.rank = 3});
  EXPECT_EQ(stderr_of([] {
              log_note("a");
              log_warning("b");
            }),
            "");
  set_up_log({.is_quiet = true});
  EXPECT_EQ(stderr_of([] { log_note("a"); }), "");
}

TEST_F(Log, FatalErrorsCarryTheRankUnlessItIs0) {
  set_up_log({});
  EXPECT_EQ(stderr_of([] { log_fatal(Error(ExitCode::kBadInput, "a: is bad")); }), "error: a: is bad\n");
  set_up_log({.rank = 3});
  EXPECT_EQ(stderr_of([] { log_fatal(Error(ExitCode::kBadInput, "a: is bad")); }),
            "rank 3: error: a: is bad\n");
  EXPECT_EQ(stderr_of([] {
              log_fatal(ConfigErrors({"c:1:2: error: x", "c:2:2: error: y"}));
            }),
            "rank 3: c:1:2: error: x\nrank 3: c:2:2: error: y\n");
}

TEST_F(Log, AlsoWritesTheFileWithTimes) {
  const std::string path = ::testing::TempDir() + fmt::format("phx_log_{}.txt", ::getpid());
  set_up_log({.file = path});
  stderr_of([] { log_note("hello"); });
  set_up_log({});
  const std::string text = read_file(path, 1000);
  EXPECT_TRUE(text.ends_with(" hello\n")) << text;
  EXPECT_EQ(text.find("20"), 0u) << text;
  ::unlink(path.c_str());
}

TEST_F(Log, NamesALogFileThatCannotBeOpened) {
  try {
    set_up_log({.file = "/proc/no/such/log.txt"});
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kStorage);
    EXPECT_TRUE(std::string(error.what()).starts_with("/proc/no/such/log.txt: the log cannot be opened: "));
  }
}

}  // namespace
}  // namespace phalanx::core
