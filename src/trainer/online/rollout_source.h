#pragma once
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "core/config.h"
#include "core/hash.h"
#include "core/stop.h"
#include "data/sampler.h"
#include "generate/rollout_options.h"
#include "parallel/distributed_model.h"
#include "reward/reward.h"
#include "trainer/model_setup.h"
#include "trainer/online/ledger.h"
#include "trainer/online/policy_options.h"
#include "trainer/online/prompts.h"
#include "trainer/online/rollout.h"

namespace phalanx::trainer {

/// Where the answers of a generation come from: the run's ledger where it has them, a recorded file, or the
/// model, whose answers are judged and written to the ledger before anybody learns from them.
class RolloutSource {
 public:
  RolloutSource(const core::Config& config, const ModelSetup& setup, const PolicyOptions& options,
                bool writes_quarantine);

  std::string report() const;
  int64_t num_prompts() const;  ///< or recorded groups

  /// Generation `number`, the same on every rank. Prompt g of it is sample number x (prompts per generation)
  /// + g of the data; an answer's random numbers are named by `number`, prompt and place in its group, so
  /// that they do not depend on the mesh.
  /// @param is_begun  steps have learned from it before this run was resumed, so that it should be in the
  /// ledger.
  /// @param complete  adds what the method needs (log-probabilities) to a fresh generation, before it is
  /// written; collective.
  /// @throws core::Stopped on every rank.
  Generation generation(int64_t number, bool is_begun, parallel::DistributedModel& model,
                        const core::StopRequest& stop,
                        const std::function<void(Generation&)>& complete) const;

  /// One greedy answer to each of the first `max_prompts` held-out prompts; nothing where there are none.
  /// @throws core::Stopped on every rank.
  std::optional<Generation> evaluate(parallel::DistributedModel& model, std::optional<int64_t> max_prompts,
                                     const core::StopRequest& stop) const;

 private:
  Generation sample(const std::vector<const Prompt*>& prompts, int64_t group_size, int64_t number,
                    const generate::SamplingOptions& sampling, parallel::DistributedModel& model,
                    const core::StopRequest& stop) const;
  Generation judged(Generation generation, const std::vector<const Prompt*>& prompts,
                    comm::Communicator& world, const core::StopRequest& stop) const;
  void judge(Generation& generation, const std::vector<const Prompt*>& prompts,
             const core::StopRequest& stop) const;
  Generation recorded(int64_t number) const;
  void read_recorded(int64_t vocab_size, core::Hasher& answers);
  int64_t groups_per_generation() const;

  const data::Tokenizer& tokenizer_;
  const PolicyOptions& options_;
  int64_t global_batch_size_;
  uint64_t seed_;
  generate::RolloutOptions rollout_;
  PromptSet train_, eval_;
  Generation recorded_;
  std::optional<data::Sampler> sampler_;
  std::optional<RolloutLedger> ledger_;
  std::unique_ptr<reward::WeightedRewards> rewards_;
};

}  // namespace phalanx::trainer
