#pragma once
#include <optional>
#include <string>

#include "launch/loaded_model.h"
#include "parallel/distributed_model.h"

namespace phalanx::launch {

/// A model that a command asks for answers, over the ranks of `group` as section `parallel` says: cut by tp,
/// pp and ep, with parallel.zero_stage: 3 shared out over the data-parallel ranks. Each rank reads its own
/// part. parallel.cp ranks are further data-parallel ones, for there is no long sequence to share.
class SpreadModel {
 public:
  /// Collective. @throws core::Error as open_model(), and (78) where the mesh does not fit the model.
  SpreadModel(const std::string& path, const core::Config& config, comm::Communicator& group);

  const generate::ModelSource& source() const { return source_; }
  const data::Tokenizer& tokenizer() const { return *source_.tokenizer; }
  parallel::DistributedModel& model() { return distributed_; }

 private:
  std::shared_ptr<model::CausalLm> frozen_model();

  at::ScalarType dtype_;
  generate::ModelSource source_;
  parallel::Mesh mesh_;
  std::optional<lora::Adapter> adapter_;
  parallel::DistributedModel distributed_;
};

}  // namespace phalanx::launch
