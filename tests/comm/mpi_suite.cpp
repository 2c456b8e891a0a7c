// The bodies of collective_cases.cpp between processes: mpirun -n N comm_mpi_tests. Every rank runs every
// test in the same order, so a test that throws on one rank ends the job instead of leaving the others
// waiting.
#include <gtest/gtest.h>

#include <cstdio>

#include "comm/collective_cases.h"
#include "comm/failure.h"
#include "comm/mpi_runtime.h"

namespace phalanx::comm {
namespace {

MpiRuntime* runtime = nullptr;

struct Path {
  std::string name;
  MpiOptions options;
};

std::vector<Path> paths() {
  return {{"shared_memory", {.timeout_s = 60}},
          {"shared_memory_in_small_pieces", {.timeout_s = 60, .staging_bytes = 4096}},
          {"messages", {.shared_memory = false, .timeout_s = 60}}};
}

class Mpi : public testing::TestWithParam<std::tuple<Path, CollectiveCase>> {};

TEST_P(Mpi, Collectives) {
  const auto& [path, test] = GetParam();
  try {
    const std::unique_ptr<Communicator> world = make_mpi_communicator(*runtime, path.options);
    EXPECT_EQ(world->backend(), "mpi");
    test.body(*world);
  } catch (...) {
    runtime->end_failed_job(
        describe_failure(std::current_exception(), runtime->rank()),
        [](const std::string& line) { std::fprintf(stderr, "error: %s\n", line.c_str()); });
  }
}

INSTANTIATE_TEST_SUITE_P(Ranks, Mpi,
                         testing::Combine(testing::ValuesIn(paths()), testing::ValuesIn(collective_cases())),
                         [](const auto& info) {
                           return std::get<0>(info.param).name + "_" + std::get<1>(info.param).name;
                         });

TEST(MpiRuntime, KnowsItsHost) {
  EXPECT_EQ(runtime->local_size(), runtime->size());  // this test runs on one host
  EXPECT_EQ(runtime->local_rank(), runtime->rank());
  EXPECT_NE(MpiRuntime::library_version().find("MPI"), std::string::npos);
}

}  // namespace

int run_suite(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  MpiRuntime mpi;
  runtime = &mpi;
  auto& listeners = testing::UnitTest::GetInstance()->listeners();
  if (mpi.rank() != 0) delete listeners.Release(listeners.default_result_printer());
  const int result = RUN_ALL_TESTS();
  // A rank whose listener is silent still fails the job.
  const int64_t failed = make_mpi_communicator(mpi)->all_reduce_scalar(int64_t{result}, ReduceOp::kMax);
  if (result != 0)
    std::fprintf(stderr, "rank %d: %d tests failed\n", mpi.rank(),
                 testing::UnitTest::GetInstance()->failed_test_count());
  return static_cast<int>(failed);
}

}  // namespace phalanx::comm

int main(int argc, char** argv) {
  return phalanx::comm::run_suite(argc, argv);
}
