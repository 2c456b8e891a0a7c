#include <gtest/gtest.h>

#include "comm/collective_cases.h"
#include "comm/run_ranks.h"

namespace phalanx::comm {
namespace {

class InProcess : public testing::TestWithParam<std::tuple<int, CollectiveCase>> {};

TEST_P(InProcess, Collectives) {
  const auto& [num_ranks, test] = GetParam();
  run_ranks(num_ranks, test.body, /*timeout_s=*/60);
}

INSTANTIATE_TEST_SUITE_P(Threads, InProcess,
                         testing::Combine(testing::Values(1, 2, 3, 4, 5),
                                          testing::ValuesIn(collective_cases())),
                         [](const auto& info) {
                           return std::get<1>(info.param).name + "_" +
                                  std::to_string(std::get<0>(info.param));
                         });

}  // namespace
}  // namespace phalanx::comm
