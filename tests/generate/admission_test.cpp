#include "generate/admission.h"

#include <gtest/gtest.h>

namespace phalanx::generate {
namespace {

std::vector<int64_t> admitted(Admission& admission) {
  std::vector<int64_t> requests;
  while (const auto request = admission.next()) requests.push_back(*request);
  return requests;
}

TEST(Admission, ServesRequestsInTheirOrderUpToTheNumberOfSequences) {
  Admission admission(3, 1000, 8);
  admission.add({.prompt_tokens = 5, .last_tokens = 9, .num_samples = 2});
  admission.add({.prompt_tokens = 5, .last_tokens = 9, .num_samples = 2});
  EXPECT_EQ(admitted(admission), (std::vector<int64_t>{0, 0, 1}));
  admission.release(0);
  EXPECT_EQ(admitted(admission), (std::vector<int64_t>{1}));
  admission.release(1);
  EXPECT_TRUE(admitted(admission).empty());
}

TEST(Admission, SetsPagesAsideForTheLongestCompletionAndOncePerPrompt) {
  const RequestSize size{.prompt_tokens = 20, .last_tokens = 40, .num_samples = 3};
  Admission admission(10, 9, 8);
  EXPECT_EQ(admission.pages_alone(size), 3 + 3);  // the prompt's pages; 16 of its tokens are shared, 24 more
  admission.add(size);
  admission.add(size);
  EXPECT_EQ(admitted(admission), (std::vector<int64_t>{0, 0}));
  admission.release(0);
  EXPECT_EQ(admitted(admission), (std::vector<int64_t>{0}));
  admission.release(0);
  EXPECT_TRUE(admitted(admission).empty());  // three pages free, but the second request needs six
  admission.release(0);
  EXPECT_EQ(admitted(admission), (std::vector<int64_t>{1, 1}));
}

}  // namespace
}  // namespace phalanx::generate
