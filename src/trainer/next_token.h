#pragma once
#include <memory>

#include "trainer/loader.h"
#include "trainer/method.h"

namespace phalanx::trainer {

/// `pretrain` and `sft`.
std::vector<MethodKind> next_token_methods();

/// Next-token prediction on `source`, without a name or an evaluation: the mean of -log p(label) over all
/// labels of the global batch that are not ignored, plus the model's auxiliary loss.
std::unique_ptr<Task> next_token_task(SampleSource source);

/// `loss` and this micro-batch's part of the auxiliary loss of the global batch (model::RouterLoss), where
/// the model has one.
at::Tensor with_auxiliary_loss(const at::Tensor& loss, model::CausalLm& model,
                               const model::LayersOutput& output);

}  // namespace phalanx::trainer
