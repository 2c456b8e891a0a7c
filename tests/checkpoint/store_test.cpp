#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <memory>

#include "checkpoint/checkpoint_store.h"
#include "checkpoint/folder.h"
#include "checkpoint/lease.h"
#include "comm/run_ranks.h"
#include "core/error.h"
#include "synthetic_state.h"

namespace phalanx::checkpoint {
namespace {

namespace fs = std::filesystem;

core::ExitCode code_of(const std::function<void()>& body, std::string* message = nullptr) {
  try {
    body();
  } catch (const core::Error& error) {
    if (message != nullptr) *message = error.what();
    return error.code();
  }
  return core::ExitCode::kDone;
}

void save_steps(const std::string& checkpoints, const CheckpointOptions& options,
                const std::vector<int64_t>& steps) {
  comm::run_ranks(2, [&](comm::Communicator& ranks) {
    CheckpointStore store(ranks, checkpoints, options, {});
    for (const int64_t step : steps)
      EXPECT_TRUE(store.save(synthetic_state(step, ranks.rank(), 2), step).committed);
  });
}

std::vector<std::string> names_in(const std::string& folder) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

TEST(CheckpointStore, KeepsTheLastCheckpointsAndNeverFewerThanTwo) {
  for (const int64_t keep : {0, 1, 2, 3}) {
    const TemporaryFolder folder;
    save_steps(folder / "c", {.keep_last = keep}, {1, 2, 3, 4, 5});
    const size_t expected = keep == 0 ? 5 : std::max<size_t>(2, static_cast<size_t>(keep));
    EXPECT_EQ(committed_steps(folder / "c").size(), expected);
    EXPECT_EQ(committed_steps(folder / "c").front(), 5);
    EXPECT_EQ(names_in(folder / "c").size(), expected + 1) << "nothing but LEASE and the checkpoints";
  }
}

TEST(CheckpointStore, RemovesNothingBeforeTwoAreKnownToBeWhole) {
  const TemporaryFolder folder;
  save_steps(folder / "c", {.keep_last = 0}, {1, 2, 3});
  save_steps(folder / "c", {.keep_last = 1}, {4});  // a new life that has verified none of the older ones
  EXPECT_EQ(committed_steps(folder / "c"), (std::vector<int64_t>{4, 3, 2, 1}));
}

TEST(CheckpointStore, SavingAStepThatIsThereKeepsIt) {
  const TemporaryFolder folder;
  save_steps(folder / "c", {}, {1});
  const auto before = fs::last_write_time(folder / "c/step_1/MANIFEST.json");
  save_steps(folder / "c", {}, {1});
  EXPECT_EQ(fs::last_write_time(folder / "c/step_1/MANIFEST.json"), before);
  std::ofstream(folder / "c/step_1/stray") << "x";
  save_steps(folder / "c", {}, {1});
  EXPECT_FALSE(fs::exists(folder / "c/step_1/stray"));
  EXPECT_TRUE(fs::exists(folder / "c/step_1.3.rejected/stray"));
}

TEST(CheckpointStore, ResumeKeysDoWhatTheySay) {
  const TemporaryFolder folder;
  const auto single = comm::make_single_communicator();
  const auto find = [&](const std::string& run, const std::string& resume) {
    return CheckpointStore(*single, folder / run, {.resume = resume}, {}).find_resume();
  };
  EXPECT_FALSE(find("new", "auto").has_value());
  EXPECT_FALSE(find("new", "never").has_value());
  EXPECT_EQ(code_of([&] { find("new", "must"); }), core::ExitCode::kBadInput);
  save_steps(folder / "old", {}, {7, 12});
  EXPECT_EQ(find("old", "auto")->manifest.step, 12);
  EXPECT_EQ(find("old", "must")->manifest.step, 12);
  EXPECT_EQ(code_of([&] { find("old", "never"); }), core::ExitCode::kBadConfig);
  EXPECT_EQ(find("new", folder / "old")->manifest.step, 12);
  EXPECT_EQ(find("new", folder / "old/step_7")->manifest.step, 7);
  EXPECT_EQ(find("old", folder / "old/step_7")->manifest.step, 12) << "the run's own checkpoints come first";
  EXPECT_EQ(code_of([&] { find("new", folder / "nowhere"); }), core::ExitCode::kBadInput);
}

TEST(CheckpointStore, RemovesWhatKilledLivesLeftHalfWritten) {
  const TemporaryFolder folder;
  save_steps(folder / "c", {}, {1});
  fs::create_directories(folder / "c/step_2.1.partial");
  std::ofstream(folder / "c/step_2.1.partial/shard_0.h5") << "half";
  const auto single = comm::make_single_communicator();
  CheckpointStore store(*single, folder / "c", {}, {});
  EXPECT_FALSE(fs::exists(folder / "c/step_2.1.partial"));
  EXPECT_EQ(store.find_resume()->manifest.step, 1);
}

/// A file-size limit makes every large write fail, as a full disk does, without a disk.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) {
    std::signal(SIGXFSZ, SIG_IGN);
    ::getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit limit{bytes, before_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileSizeLimit() { ::setrlimit(RLIMIT_FSIZE, &before_); }

 private:
  rlimit before_{};
};
std::unique_ptr<FileSizeLimit> full_disk;

TEST(CheckpointStore, AStorageFailureIsAResultAndTheThirdInARowEndsTheRun) {
  const TemporaryFolder folder;
  std::string log, last;
  core::ExitCode code = core::ExitCode::kDone;
  comm::run_ranks(2, [&](comm::Communicator& ranks) {
    CheckpointStore store(ranks, folder / "c", {}, [&](const std::string& line) { log += line + "\n"; });
    const auto save = [&](int64_t step) { return store.save(synthetic_state(step, ranks.rank(), 2), step); };
    const auto save_on_full_disk = [&](int64_t step) {
      ranks.barrier();
      if (ranks.rank() == 0) full_disk = std::make_unique<FileSizeLimit>(100000);
      ranks.barrier();
      const SaveResult result = save(step);
      ranks.barrier();
      if (ranks.rank() == 0) full_disk.reset();
      ranks.barrier();
      return result;
    };
    EXPECT_TRUE(save(1).committed);
    for (int round = 0; round < 2; ++round) {
      const SaveResult missed = save_on_full_disk(10 + round);
      EXPECT_FALSE(missed.committed);
      EXPECT_NE(missed.message.find("bytes"), std::string::npos);
      EXPECT_FALSE(fs::exists(folder / ("c/" + partial_name(10 + round, 1))));
    }
    EXPECT_TRUE(save(20).committed) << "room was made";
    std::string message;
    const auto error = code_of(
        [&] {
          for (int64_t step = 30; step < 40; ++step) save_on_full_disk(step);
        },
        &message);
    if (ranks.rank() == 0) {
      full_disk.reset();
      code = error;
      last = message;
    }
  });
  EXPECT_EQ(code, core::ExitCode::kStorage);
  EXPECT_NE(last.find("step 32"), std::string::npos) << last;
  EXPECT_NE(log.find("miss 2 of 3"), std::string::npos) << log;
  EXPECT_NE(log.find("are needed"), std::string::npos) << log;
  EXPECT_EQ(committed_steps(folder / "c"), (std::vector<int64_t>{20, 1}));
}

TEST(Lease, AFolderInUseByALivingProcessIsRefusedNamingItsPid) {
  const TemporaryFolder folder;
  const auto single = comm::make_single_communicator();
  CheckpointStore store(*single, folder / "c", {}, {});
  std::string message;
  EXPECT_EQ(code_of([&] { CheckpointStore(*single, folder / "c", {}, {}); }, &message),
            core::ExitCode::kSuperseded);
  EXPECT_NE(message.find("in use by process " + std::to_string(::getpid())), std::string::npos) << message;
  EXPECT_TRUE(store.save(synthetic_state(1, 0, 1), 1).committed) << "the holder goes on";
}

TEST(Lease, TheLeaseOfADeadProcessIsTakenOverWithTheNextIncarnation) {
  const TemporaryFolder folder;
  const pid_t child = ::fork();
  if (child == 0) {
    new Lease(Lease::take(folder.path()));  // never released
    ::_exit(0);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_EQ(Lease::take(folder.path()).incarnation(), 2);
  EXPECT_EQ(Lease::take(folder.path()).incarnation(), 3) << "released, and the number is not used again";
  EXPECT_EQ(names_in(folder.path()), (std::vector<std::string>{"LEASE"}));
}

TEST(Lease, IncarnationsInFolderNamesAreNotUsedAgainEither) {
  const TemporaryFolder folder;
  fs::create_directories(folder / "step_5.8.rejected");
  EXPECT_EQ(Lease::take(folder.path()).incarnation(), 9);
}

TEST(Lease, ASupersededRunStopsAtItsNextCommitAndWritesNothing) {
  const TemporaryFolder folder;
  const auto single = comm::make_single_communicator();
  CheckpointStore store(*single, folder / "c", {}, {});
  EXPECT_TRUE(store.save(synthetic_state(1, 0, 1), 1).committed);
  fs::remove(folder / "c/LEASE");  // another host took it
  std::ofstream(folder / "c/LEASE")
      << R"({"incarnation": 2, "host": "b", "machine": "m", "pid": 5, "process_start": "1", "started": "", "released": false})";
  std::string message;
  EXPECT_EQ(code_of([&] { store.save(synthetic_state(2, 0, 1), 2); }, &message), core::ExitCode::kSuperseded);
  EXPECT_NE(message.find("process 5 on host b"), std::string::npos) << message;
  EXPECT_EQ(names_in(folder / "c"), (std::vector<std::string>{"LEASE", "step_1"}));
}

}  // namespace
}  // namespace phalanx::checkpoint
