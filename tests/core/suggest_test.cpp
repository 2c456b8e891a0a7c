#include "core/suggest.h"

#include <gtest/gtest.h>

namespace phalanx::core {
namespace {

TEST(Nearest, FindsMisspellings) {
  const std::vector<std::string> keys = {"max_steps", "epochs", "global_batch_size", "micro_batch_size",
                                         "precision"};
  EXPECT_EQ(nearest("max_step", keys), "max_steps");
  EXPECT_EQ(nearest("max-steps", keys), "max_steps");
  EXPECT_EQ(nearest("epcohs", keys), "epochs");  // a swap is one change
  EXPECT_EQ(nearest("globalbatchsize", keys), "global_batch_size");
  EXPECT_EQ(nearest("micro_batch", keys), "micro_batch_size");  // contained
  EXPECT_EQ(nearest("wholly_different", keys), std::nullopt);
  EXPECT_EQ(nearest(std::string(100'000, 'a'), keys), std::nullopt);
  EXPECT_EQ(nearest("x", {}), std::nullopt);
}

TEST(OurNameOf, TranslatesThePeersKeys) {
  EXPECT_EQ(our_name_of("num_train_epochs"), "train.epochs");
  EXPECT_EQ(our_name_of("per_device_train_batch_size"), "train.micro_batch_size");
  EXPECT_EQ(our_name_of("sequence_len"), "data.sequence_length");
  EXPECT_EQ(our_name_of("cutoff_len"), "data.sequence_length");
  EXPECT_EQ(our_name_of("tensor_parallel_degree"), "parallel.tp");
  EXPECT_EQ(our_name_of("lora_rank"), "lora.r");
  EXPECT_EQ(our_name_of("kl_coef"), "method.beta");
  EXPECT_EQ(our_name_of("max_steps"), std::nullopt);  // ours already
}

}  // namespace
}  // namespace phalanx::core
