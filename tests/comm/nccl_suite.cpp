// The bodies of collective_cases.cpp between GPUs, one thread and one GPU for each rank. Labelled `gpu`:
// where the GPUs are missing every test says that it has not run.
#include <c10/cuda/CUDAFunctions.h>
#include <gtest/gtest.h>

#include "comm/collective_cases.h"
#include "comm/nccl_communicator.h"
#include "comm/run_ranks.h"
#include "core/error.h"

namespace phalanx::comm {
namespace {

class Nccl : public testing::TestWithParam<std::tuple<int, CollectiveCase>> {};

TEST_P(Nccl, Collectives) {
  const auto& [num_ranks, test] = GetParam();
  const int num_devices = c10::cuda::device_count();
  if (num_devices < num_ranks)
    GTEST_SKIP() << "not run: needs " << num_ranks << " GPUs, here are " << num_devices;
  if (test.host_only) GTEST_SKIP() << "not run: a promise of the host backends only";
  run_ranks(
      num_ranks,
      [&body = test.body](Communicator& host) {
        const NcclOptions options{.device_index = host.rank(), .timeout_s = 60};
        const auto ranks = make_nccl_communicator(host.split(0, host.rank()), options);
        EXPECT_EQ(ranks->backend(), "nccl");
        body(*ranks);
      },
      /*timeout_s=*/90);
}

INSTANTIATE_TEST_SUITE_P(Devices, Nccl,
                         testing::Combine(testing::Values(1, 2, 4), testing::ValuesIn(collective_cases())),
                         [](const auto& info) {
                           return std::get<1>(info.param).name + "_" +
                                  std::to_string(std::get<0>(info.param));
                         });

TEST(NcclRanks, AreRefusedAGpuThatIsNotThere) {
  // Runs without a GPU, too: it shows that the program starts and says what is missing.
  const NcclOptions options{.device_index = c10::cuda::device_count()};
  try {
    make_nccl_communicator(make_single_communicator(), options);
    FAIL() << "a GPU that is not there was accepted";
  } catch (const core::Error& error) {
    EXPECT_EQ(error.code(), core::ExitCode::kBadConfig);
    EXPECT_NE(std::string(error.what()).find("GPU"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace phalanx::comm
