#include <gtest/gtest.h>

#include <chrono>
#include <limits>
#include <thread>

#include "checkpoint/agreement.h"
#include "checkpoint/load.h"
#include "checkpoint/save.h"
#include "checkpoint/verify.h"
#include "checkpoint/write_plan.h"
#include "comm/run_ranks.h"
#include "core/error.h"
#include "formats/hdf5.h"
#include "synthetic_state.h"

namespace phalanx::checkpoint {
namespace {

void save_synthetic(const std::string& folder, int num_ranks, int64_t step) {
  comm::run_ranks(num_ranks, [&](comm::Communicator& ranks) {
    save(ranks, synthetic_state(step, ranks.rank(), num_ranks),
         {.checkpoints = folder, .step = step, .incarnation = 1});
  });
}

/// Runs `body` on two ranks and returns the error that all of them must throw alike.
core::Error error_on_two_ranks(const std::function<void(comm::Communicator&)>& body) {
  std::vector<std::string> texts(2);
  core::ExitCode code = core::ExitCode::kDone;
  comm::run_ranks(2, [&](comm::Communicator& ranks) {
    try {
      body(ranks);
    } catch (const core::Error& error) {
      texts[static_cast<size_t>(ranks.rank())] = error.what();
      if (ranks.rank() == 0) code = error.code();
    }
  });
  EXPECT_FALSE(texts[0].empty());
  EXPECT_EQ(texts[0], texts[1]) << "the ranks must agree on the error";
  return {code, texts[0]};
}

TEST(SaveLoad, GivesTheSameBitsOnAnyNumberOfRanks) {
  for (const int writers : {1, 2, 4}) {
    const TemporaryFolder folder;
    save_synthetic(folder.path(), writers, 10);
    for (const int readers : {1, 2, 4}) {
      comm::run_ranks(readers, [&](comm::Communicator& ranks) {
        const Verdict verdict = verify_checkpoint(ranks, folder / "step_10", 2);
        ASSERT_TRUE(verdict.ok()) << verdict.problems.front();
        const State expected = synthetic_state(10, ranks.rank(), readers);
        State loaded = blank_like(expected);
        load(ranks, verdict.path, *verdict.manifest, loaded.tensors);
        EXPECT_EQ(first_difference(loaded, expected), "")
            << writers << " -> " << readers << ", rank " << ranks.rank();
        EXPECT_EQ(verdict.manifest->scalars, expected.scalars);
      });
    }
  }
}

TEST(SaveLoad, SavingWhatWasLoadedGivesTheSameFiles) {
  const TemporaryFolder first, second;
  save_synthetic(first.path(), 2, 10);
  std::this_thread::sleep_for(std::chrono::milliseconds(1100));  // a time stamp in a file counts in seconds
  save_synthetic(second.path(), 2, 10);
  for (const auto& entry : std::filesystem::directory_iterator(first / "step_10")) {
    std::ifstream a(entry.path()), b(second / "step_10/" + entry.path().filename().string());
    const std::string x((std::istreambuf_iterator<char>(a)), {}), y((std::istreambuf_iterator<char>(b)), {});
    EXPECT_TRUE(x == y) << entry.path();
  }
}

TEST(SaveLoad, ReplicatedTensorsAreWrittenOnceAndSpreadByBytes) {
  comm::run_ranks(4, [](comm::Communicator& ranks) {
    State state;
    for (int i = 0; i < 40; ++i)
      state.tensors.push_back(whole_tensor("t" + std::to_string(i), at::zeros({100 + i, 64})));
    state.tensors.push_back(whole_tensor("embed", at::zeros({5000, 64})));
    const WritePlan plan = make_write_plan(ranks, state);
    uint64_t expected = 0;
    for (const TensorSlice& slice : state.tensors) expected += slice.local.nbytes();
    EXPECT_EQ(plan.total_bytes(), expected);
    for (const uint64_t bytes : plan.rank_bytes)
      EXPECT_NEAR(static_cast<double>(bytes), expected / 4.0, expected * 0.01);
  });
}

TEST(SaveLoad, NonContiguousTensorsAreSavedAndFilledByValue) {
  const TemporaryFolder folder;
  const auto single = comm::make_single_communicator();
  const at::Tensor values = at::arange(24, at::kFloat).view({4, 6});
  State state;
  state.tensors.push_back(whole_tensor("t", values.t()));
  save(*single, state, {.checkpoints = folder.path(), .step = 1, .incarnation = 1});
  const Verdict verdict = verify_checkpoint(*single, folder / "step_1");
  EXPECT_TRUE(at::equal(load_tensor(verdict.path, *verdict.manifest, "t"), values.t()));
  const at::Tensor target = at::zeros({4, 6});
  load(*single, verdict.path, *verdict.manifest, {whole_tensor("t", target.t())});
  EXPECT_TRUE(at::equal(target, values));
}

TEST(SaveLoad, ShardsAreHdf5FilesWithTheTensorsAsDatasets) {
  const TemporaryFolder folder;
  save_synthetic(folder.path(), 2, 10);
  size_t num_datasets = 0;
  for (const std::string shard : {"shard_0.h5", "shard_1.h5"}) {
    const formats::Hdf5File file(folder / "step_10/" + shard);
    num_datasets += file.tensors().size();
    const auto* tensor = file.find(shard == "shard_0.h5" ? "rows.weight@0_0" : "rows.weight@18_0");
    ASSERT_NE(tensor, nullptr);
    const at::Tensor expected = synthetic_state(10, shard == "shard_0.h5" ? 0 : 1, 2).tensors[1].local;
    ASSERT_EQ(file.bytes(*tensor).size(), expected.nbytes());
    EXPECT_EQ(std::memcmp(file.bytes(*tensor).data(), expected.data_ptr(), expected.nbytes()), 0);
  }
  // 17 tensors: one is split because it is large, four because the ranks hold different slices of them.
  EXPECT_EQ(num_datasets, 17U + 5U);
}

TEST(Save, RefusesNanAndInfinityNamingTensorPlaceAndRank) {
  const TemporaryFolder folder;
  for (const double bad :
       {std::numeric_limits<double>::quiet_NaN(), -std::numeric_limits<double>::infinity()}) {
    for (const at::ScalarType type : {at::kDouble, at::kFloat, at::kBFloat16, at::kHalf}) {
      const core::Error error = error_on_two_ranks([&](comm::Communicator& ranks) {
        State state = synthetic_state(10, ranks.rank(), 2);
        state.tensors.push_back(whole_tensor("moments", at::zeros({70, 9}, type)));
        state.tensors.back().local[66][7] = bad;
        save(ranks, state, {.checkpoints = folder.path(), .step = 10, .incarnation = 1});
      });
      EXPECT_EQ(error.code(), core::ExitCode::kNumerics);
      EXPECT_NE(std::string(error.what()).find("tensor moments is NaN or infinite at [66, 7]"),
                std::string::npos)
          << error.what();
    }
  }
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

TEST(Save, RefusesReplicasThatAreNotTheSameBits) {
  const TemporaryFolder folder;
  const core::Error error = error_on_two_ranks([&](comm::Communicator& ranks) {
    State state = synthetic_state(10, ranks.rank(), 2);
    if (ranks.rank() == 1) state.tensors[0].local[3][4] += 1;
    save(ranks, state, {.checkpoints = folder.path(), .step = 10, .incarnation = 1});
  });
  EXPECT_EQ(error.code(), core::ExitCode::kNumerics);
  EXPECT_NE(std::string(error.what()).find("large.weight"), std::string::npos) << error.what();
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

TEST(Save, RefusesGapsOverlapsAndScalarsThatDiffer) {
  const TemporaryFolder folder;
  const auto message = [&](const std::function<void(State&, int)>& spoil) {
    const core::Error error = error_on_two_ranks([&](comm::Communicator& ranks) {
      State state = synthetic_state(10, ranks.rank(), 2);
      spoil(state, ranks.rank());
      save(ranks, state, {.checkpoints = folder.path(), .step = 10, .incarnation = 1});
    });
    EXPECT_EQ(error.code(), core::ExitCode::kBug);
    return std::string(error.what());
  };
  EXPECT_NE(message([](State& state, int) { state.tensors[1].global_shape[0] += 1; }).find("rows.weight"),
            std::string::npos);
  EXPECT_NE(message([](State& state, int rank) { state.tensors[1].offset[0] -= rank; }).find("overlap"),
            std::string::npos);
  EXPECT_NE(
      message([](State& state, int rank) { state.scalars["seed"] = rank; }).find("scalar seed of rank 1"),
      std::string::npos);
  EXPECT_NE(message([](State& state, int rank) {
              if (rank == 1) state.tensors[2].local = at::Tensor();
            }).find("rank 1"),
            std::string::npos);
  EXPECT_NE(message([](State& state, int) { state.tensors[0].name = "a/b"; }).find("without '/'"),
            std::string::npos);
}

TEST(Load, AccountsForEveryTensorOnBothSides) {
  const TemporaryFolder folder;
  save_synthetic(folder.path(), 2, 10);
  const auto message = [&](const std::function<void(State&)>& spoil, const LoadOptions& options = {}) {
    const core::Error error = error_on_two_ranks([&](comm::Communicator& ranks) {
      State state = synthetic_state(10, ranks.rank(), 2);
      spoil(state);
      const Verdict verdict = verify_checkpoint(ranks, folder / "step_10");
      load(ranks, verdict.path, *verdict.manifest, state.tensors, options);
    });
    EXPECT_EQ(error.code(), core::ExitCode::kBadInput);
    return std::string(error.what());
  };
  EXPECT_NE(message([](State& s) { s.tensors.pop_back(); }).find("tensor replicated.Bool would stay unread"),
            std::string::npos);
  EXPECT_NE(message([](State& s) {
              s.tensors.push_back(whole_tensor("new", at::zeros({2})));
            }).find("tensor new is not in the checkpoint"),
            std::string::npos);
  EXPECT_NE(message([](State& s) {
              s.tensors[0].local = s.tensors[0].local.to(at::kDouble);
            }).find("F32 [600, 513] in the checkpoint but F64"),
            std::string::npos);
  EXPECT_NE(message([](State& s) {
              s.tensors[1].local = s.tensors[1].local.narrow(1, 0, 3);
            }).find("only 111 of 703 elements"),
            std::string::npos);
  const auto single = comm::make_single_communicator();
  const Verdict verdict = verify_checkpoint(*single, folder / "step_10");
  State some = synthetic_state(10, 0, 1);
  some.tensors.resize(1);
  EXPECT_THROW(load(*single, verdict.path, *verdict.manifest, some.tensors), core::Error);
  EXPECT_NO_THROW(
      load(*single, verdict.path, *verdict.manifest, some.tensors,
           {.ignore_prefixes = {"rows.", "columns.", "deep.", "scalar", "empty", "replicated."}}));
}

}  // namespace
}  // namespace phalanx::checkpoint
