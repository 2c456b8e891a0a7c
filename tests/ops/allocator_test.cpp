#include "ops/cpu/allocator.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <random>
#include <thread>

namespace phalanx::ops::cpu {
namespace {

// Tensors of random lengths, each full of its own number, freed in random order.
void churn(uint64_t seed, int rounds) {
  std::mt19937_64 random(seed);
  std::vector<at::Tensor> live;
  for (int i = 0; i < rounds; ++i) {
    const auto value = static_cast<int64_t>(random());
    live.push_back(at::full({static_cast<int64_t>(random() % 60'000) + 1}, value, at::kLong));
    EXPECT_EQ(reinterpret_cast<uintptr_t>(live.back().data_ptr()) % 64, 0U);
    if (live.size() < 20) continue;
    std::swap(live[random() % live.size()], live.back());
    const at::Tensor& freed = live.back();
    EXPECT_TRUE((freed == freed[0]).all().item<bool>());  // nobody wrote into it
    live.pop_back();
  }
}

TEST(TensorArena, KeepsTensorsApartAndUsesFreedMemoryAgain) {
  const at::Tensor before = at::ones({1 << 18});
  if (!use_tensor_arena()) GTEST_SKIP() << "the sanitizer wants to see every tensor";
  churn(1, 400);
  const ArenaBytes first = tensor_arena_bytes();
  for (int i = 0; i < 5; ++i) churn(1, 400);
  EXPECT_EQ(tensor_arena_bytes().used, first.used);
  EXPECT_EQ(tensor_arena_bytes().held, first.held);
  EXPECT_EQ(before.sum().item<float>(), 1 << 18);
}

TEST(TensorArena, MayBeUsedFromSeveralThreadsAndFreedByAnother) {
  if (!use_tensor_arena()) GTEST_SKIP() << "the sanitizer wants to see every tensor";
  const size_t used = tensor_arena_bytes().used;
  std::vector<at::Tensor> handed_over(4);
  std::vector<std::thread> threads;
  for (size_t i = 0; i < handed_over.size(); ++i) {
    threads.emplace_back([i, &handed_over] {
      churn(10 + i, 100);
      handed_over[i] = at::ones({100'000});
    });
  }
  for (std::thread& thread : threads) thread.join();
  handed_over.clear();
  EXPECT_EQ(tensor_arena_bytes().used, used);
}

TEST(TensorArena, GivesHolesBackWithoutTouchingLiveTensors) {
  if (!use_tensor_arena()) GTEST_SKIP() << "the sanitizer wants to see every tensor";
  at::Tensor a = at::ones({1 << 20}), hole = at::ones({1 << 20}), b = at::ones({1 << 20});
  hole.reset();
  release_unused_tensor_memory();
  EXPECT_EQ((a + b).sum().item<float>(), 2 << 20);
}

}  // namespace
}  // namespace phalanx::ops::cpu
