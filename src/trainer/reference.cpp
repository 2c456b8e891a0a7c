#include "trainer/reference.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include "trainer/sample_sums.h"

namespace phalanx::trainer {
namespace {

class BaseUnderAdapter : public Reference {
 public:
  BaseUnderAdapter(lora::Adapter adapter, parallel::DistributedModel& model)
      : adapter_(std::move(adapter)), model_(model) {}

  at::Tensor logprobs(const data::Batch& local, double temperature) override {
    const bool was_enabled = adapter_.enabled();
    adapter_.set_enabled(false);
    at::Tensor rows = logprobs_of(model_, local, temperature);
    adapter_.set_enabled(was_enabled);
    return rows;
  }

 private:
  lora::Adapter adapter_;  // shares the switch
  parallel::DistributedModel& model_;
};

class FrozenReference : public Reference {
 public:
  FrozenReference(const FrozenModel& frozen, parallel::DistributedModel& like)
      : copy_(frozen, like.mesh(), like.options(), like.parameters().compute_dtype()) {}

  at::Tensor logprobs(const data::Batch& local, double temperature) override {
    at::Tensor rows = logprobs_of(copy_.model(), local, temperature);
    copy_.model().drop_gathered();
    return rows;
  }

 private:
  FrozenCopy copy_;
};

}  // namespace

at::Tensor logprobs_of(parallel::DistributedModel& model, const data::Batch& local, double temperature) {
  const at::NoGradGuard no_grad;
  const at::Device device = model.parameters().options().device;
  const at::Tensor hidden = model.schedule().forward(model_input(local, device)).hidden;
  at::Tensor rows;
  if (model.has_output()) rows = row_logprobs(model.model(), local, hidden, {temperature});
  return rows;
}

std::unique_ptr<Reference> make_reference(const FrozenModel& frozen, const TrainedModel& trained,
                                          parallel::DistributedModel& model) {
  if (trained.adapter && trained.adapter->keeps_base())
    return std::make_unique<BaseUnderAdapter>(*trained.adapter, model);
  return make_frozen_copy(frozen, model);
}

std::unique_ptr<Reference> make_frozen_copy(const FrozenModel& frozen, parallel::DistributedModel& model) {
  return std::make_unique<FrozenReference>(frozen, model);
}

void attach_reference(Reference& reference, std::vector<data::Batch>& local, double temperature) {
  for (data::Batch& batch : local) {
    const at::Tensor rows = reference.logprobs(batch, temperature);
    if (!rows.defined()) continue;
    const at::Tensor values = rows.to(at::kDouble).cpu().contiguous();
    const double* begin = values.const_data_ptr<double>();
    batch.row_values[kReferenceLogprobs].assign(begin, begin + values.numel());
  }
}

}  // namespace phalanx::trainer
