#pragma once
#include <memory>
#include <string>
#include <vector>

#include "data/batch.h"
#include "trainer/frozen_model.h"
#include "trainer/method.h"

namespace phalanx::trainer {

inline constexpr const char* kReferenceLogprobs = "ref_logprobs";

/// The model that a policy is compared with: its log-probabilities on the same tokens, without a gradient.
class Reference {
 public:
  virtual ~Reference() = default;
  /// log p(label) of each row [N] of a micro-batch, 0 where ignored; undefined on ranks without the last
  /// layers. Collective over the mesh.
  virtual at::Tensor logprobs(const data::Batch& local, double temperature = 1.0) = 0;
};

/// Under an adapter that leaves the base as it was: the base, with the adapter off for one forward; no second
/// copy of any weight. Else `frozen`, in the compute dtype, spread over the mesh of `model` in the same way.
/// All must outlive it.
std::unique_ptr<Reference> make_reference(const FrozenModel& frozen, const TrainedModel& trained,
                                          parallel::DistributedModel& model);

/// `frozen` in any case.
std::unique_ptr<Reference> make_frozen_copy(const FrozenModel& frozen, parallel::DistributedModel& model);

/// log p(label) of each row [N] under `model` itself, without a gradient; as Reference::logprobs.
at::Tensor logprobs_of(parallel::DistributedModel& model, const data::Batch& local, double temperature = 1.0);

/// Of every micro-batch: forwards without a gradient, their values joined to `local` under
/// kReferenceLogprobs.
void attach_reference(Reference& reference, std::vector<data::Batch>& local, double temperature = 1.0);

}  // namespace phalanx::trainer
