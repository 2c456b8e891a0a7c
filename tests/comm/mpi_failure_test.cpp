// What a user sees when a rank of an MPI job fails: each error once, with its rank, and the right exit code.
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <array>
#include <chrono>
#include <cstdio>
#include <string>

namespace phalanx::comm {
namespace {

struct Outcome {
  std::string output;  // stdout and stderr
  int exit_code = -1;
  double seconds = 0;

  int count(const std::string& text) const {
    int found = 0;
    for (size_t at = output.find(text); at != std::string::npos; at = output.find(text, at + 1)) ++found;
    return found;
  }
};

Outcome run_job(int num_ranks, const std::string& arguments) {
  const std::string command =
      "OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMP_NUM_THREADS=1 timeout 60 mpirun "
      "--oversubscribe "
      "--bind-to none -n " +
      std::to_string(num_ranks) + " " + PHALANX_MPI_JOB + " " + arguments + " 2>&1";
  const auto start = std::chrono::steady_clock::now();
  Outcome outcome;
  FILE* const pipe = popen(command.c_str(), "r");
  std::array<char, 4096> buffer;
  while (const size_t got = fread(buffer.data(), 1, buffer.size(), pipe))
    outcome.output.append(buffer.data(), got);
  const int status = pclose(pipe);
  outcome.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  outcome.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return outcome;
}

class MpiFailure : public testing::TestWithParam<std::string> {
 protected:
  Outcome run(int num_ranks, const std::string& name) { return run_job(num_ranks, name + GetParam()); }
};

INSTANTIATE_TEST_SUITE_P(Paths, MpiFailure, testing::Values("", " messages"),
                         [](const auto& info) { return info.param.empty() ? "SharedMemory" : "Messages"; });

TEST_P(MpiFailure, OfNoRankEndsWithZero) {
  const Outcome outcome = run(2, "none");
  EXPECT_EQ(outcome.exit_code, 0) << outcome.output;
  EXPECT_EQ(outcome.output, "");
}

TEST_P(MpiFailure, OfOneRankReleasesTheOthersWithItsError) {
  const Outcome outcome = run(3, "throw");
  EXPECT_EQ(outcome.exit_code, 65) << outcome.output;
  EXPECT_EQ(outcome.count("error: "), 1) << outcome.output;
  EXPECT_EQ(outcome.count("error: rank 1: a.jsonl: line 3 is not JSON"), 1) << outcome.output;
  EXPECT_EQ(outcome.count("released 0 by 1"), 1) << outcome.output;
  EXPECT_EQ(outcome.count("released 2 by 1"), 1) << outcome.output;
  EXPECT_LT(outcome.seconds, 10);
}

TEST_P(MpiFailure, WakesRanksThatSleepInACollective) {
  const Outcome outcome = run(2, "throw_late");
  EXPECT_EQ(outcome.exit_code, 65) << outcome.output;
  EXPECT_EQ(outcome.count("released 0 by 1"), 1) << outcome.output;
}

TEST_P(MpiFailure, OfAllRanksForOneCauseIsPrintedOnce) {
  const Outcome outcome = run(4, "throw_alike");
  EXPECT_EQ(outcome.exit_code, 65) << outcome.output;
  EXPECT_EQ(outcome.count("a.jsonl: no such file"), 1) << outcome.output;
}

TEST_P(MpiFailure, OfTwoRanksForTwoCausesIsPrintedForEach) {
  const Outcome outcome = run(3, "throw_two");
  EXPECT_EQ(outcome.exit_code, 65) << outcome.output;
  // Each is printed once, unless that rank has heard of the other before it failed itself; then it is
  // released.
  for (const auto& [rank, other] : {std::pair{"1", "2"}, std::pair{"2", "1"}}) {
    const std::string own = std::string("error: rank ") + rank + ": shard " + rank + " is missing";
    EXPECT_EQ(outcome.count(own) + outcome.count(std::string("released ") + rank + " by " + other), 1)
        << outcome.output;
  }
}

TEST_P(MpiFailure, WithACollectiveUnderWayReleasesTheOthers) {
  const Outcome outcome = run(2, "throw_with_group");
  EXPECT_EQ(outcome.exit_code, 65) << outcome.output;
  EXPECT_EQ(outcome.count("error: rank 1: thrown over a group"), 1) << outcome.output;
  EXPECT_EQ(outcome.count("error: "), 1) << outcome.output;
  EXPECT_EQ(outcome.count("released 0 by 1"), 1) << outcome.output;
}

TEST_P(MpiFailure, ByExitEndsTheJobWithTheCodeOfTheRank) {
  const Outcome outcome = run(2, "exit");
  EXPECT_EQ(outcome.exit_code, 75) << outcome.output;
  EXPECT_LT(outcome.seconds, 10);
}

TEST_P(MpiFailure, ByALateRankIsATimeout) {
  const Outcome outcome = run(2, "late");
  EXPECT_EQ(outcome.exit_code, 70) << outcome.output;
  EXPECT_EQ(outcome.count("error: rank 0: timed out after 1 s in all_reduce"), 1) << outcome.output;
  EXPECT_LT(outcome.seconds, 15);
}

TEST_P(MpiFailure, ReleasesARankThatWaitsForAMessage) {
  const Outcome outcome = run(2, "recv");
  EXPECT_EQ(outcome.exit_code, 65) << outcome.output;
  EXPECT_EQ(outcome.count("error: rank 1: nothing to send"), 1) << outcome.output;
  EXPECT_EQ(outcome.count("released 0 by 1"), 1) << outcome.output;
}

TEST_P(MpiFailure, IsHeardByARankThatOnlyAsks) {
  const Outcome outcome = run(2, "asked");
  EXPECT_EQ(outcome.exit_code, 65) << outcome.output;
  EXPECT_EQ(outcome.count("error: rank 1: nothing to compute"), 1) << outcome.output;
  EXPECT_EQ(outcome.count("released 0 by 1"), 1) << outcome.output;
}

TEST_P(MpiFailure, OfAShortMessageNamesBothSizes) {
  const Outcome outcome = run(2, "short_message");
  EXPECT_EQ(outcome.exit_code, 70) << outcome.output;
  EXPECT_EQ(outcome.count("the message has 40 bytes, expected were 400000"), 1) << outcome.output;
}

TEST_P(MpiFailure, MayBeDeclaredByAnyThread) {
  const Outcome outcome = run(2, "in_thread");
  EXPECT_EQ(outcome.exit_code, 74) << outcome.output;
  EXPECT_EQ(outcome.count("error: rank 1: the writer thread has no space left"), 1) << outcome.output;
}

TEST(MpiMismatch, NamesTheCallsOfBothRanks) {
  const Outcome outcome = run_job(2, "lost_step");
  EXPECT_EQ(outcome.exit_code, 70) << outcome.output;
  EXPECT_EQ(outcome.count("rank 0 of the group calls all_reduce (sum) of 100000 Float elements while rank 1 "
                          "calls broadcast of "
                          "100000 Float elements from rank 0"),
            1)
      << outcome.output;
}

TEST(MpiProgram, NeverOpensFilesThroughMpi) {
  FILE* const pipe = popen("nm -D --undefined-only " PHALANX_MPI_JOB " | grep -c MPI_File_", "r");
  int count = -1;
  ASSERT_EQ(fscanf(pipe, "%d", &count), 1);
  pclose(pipe);
  EXPECT_EQ(count, 0);
}

}  // namespace
}  // namespace phalanx::comm
