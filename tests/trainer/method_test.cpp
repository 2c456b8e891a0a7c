#include "trainer/next_token.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "model/golden_case.h"

namespace phalanx::trainer {
namespace {

using model::golden_path;

/// The samples [first, last) of a golden file's row, as the loader would hand them over.
data::Batch golden_batch(const at::Tensor& ids, size_t first, size_t last) {
  std::vector<data::Sequence> sequences;
  int64_t begin = 0;
  for (size_t i = 0; i < last; ++i) {
    const int32_t length = model::kGoldenLengths[i];
    data::Sequence sequence;
    for (int32_t t = 0; t < length; ++t) {
      sequence.input_ids.push_back(ids[begin + t].item<int32_t>());
      sequence.labels.push_back(t + 1 < length ? ids[begin + t + 1].item<int32_t>() : data::kIgnoredLabel);
      sequence.position_ids.push_back(t);
    }
    sequence.lengths = {length};
    begin += length;
    if (i >= first) sequences.push_back(std::move(sequence));
  }
  return data::join(sequences);
}

double golden(const formats::TensorFile& file, const char* name) {
  return model::read_tensor(file, name).item<double>();
}

class NextTokenLoss : public testing::Test {
 protected:
  const formats::SafetensorsFile file_{golden_path("mixtral.safetensors")};
  const at::Tensor ids_ = model::read_tensor(file_, "ids");
  const std::shared_ptr<model::CausalLm> model_ = model::load_model(golden_path("mixtral"), at::kDouble);
  double loss(const data::Batch& batch) const {
    const auto alone = comm::make_single_communicator();
    const parallel::Mesh mesh(*alone, {});
    parallel::DistributedModel distributed(model_, mesh, {});
    distributed.take_weights(at::kDouble);
    const auto task = next_token_task([](int64_t) { return data::Sequence(); });
    const auto method = task->start({model_, std::nullopt}, distributed, {});
    std::vector<data::Batch> batches = {batch};
    method->begin_step(batches, {batch.cu_seqlens.back(), batch.num_target_tokens});
    return method->loss(0, batch, distributed.schedule().forward(model_input(batch, at::kCPU)))
        .item<double>();
  }
};

TEST_F(NextTokenLoss, OfOneMicroBatchIsWhatTransformersTrainsOnWithTheAuxiliaryLoss) {
  const data::Batch batch = golden_batch(ids_, 0, 2);
  ASSERT_EQ(batch.num_target_tokens, 10);
  EXPECT_NEAR(loss(batch), golden(file_, "loss"), 1e-12);
}

}  // namespace
}  // namespace phalanx::trainer
