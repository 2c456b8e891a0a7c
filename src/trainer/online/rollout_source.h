#pragma once
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <vector>

#include "generate/generate.h"
#include "parallel/distributed_model.h"
#include "reward/reward.h"
#include "trainer/method.h"
#include "trainer/online/rollout.h"
#include "trainer/online/rollout_setup.h"

namespace phalanx::trainer {

/// Where a rank gets the answers of a generation from: the run's ledger where it has them, a recorded file,
/// or the model, whose answers are judged and written to the ledger before anybody learns from them. All
/// functions but state() and restore() are collective over the mesh.
class RolloutSource {
 public:
  /// Both outlive it. Reads the reward models.
  RolloutSource(const RolloutSetup& setup, parallel::DistributedModel& model);

  /// Generation `number`, the same on every rank; asked for in order, or again. An answer's random numbers
  /// are named by `number`, the place of its prompt among those drawn for it, and its place in its group, so
  /// that they do not depend on the mesh. With dynamic sampling (Yu et al. 2025, arXiv:2503.14476) groups
  /// without a spread of rewards are replaced by the next prompts, round after round.
  /// @param complete  adds what the method needs (log-probabilities) to a fresh generation, before it is
  /// written; collective.
  /// @throws Postponed where terms of the reward failed on more than reward.max_unscorable of the answers.
  /// The answers are kept; the next call asks about these.
  Generation generation(int64_t number, const std::function<void(Generation&)>& complete);

  /// One greedy answer to each of the first `max_prompts` held-out prompts; nothing where there are none.
  std::optional<Generation> evaluate(std::optional<int64_t> max_prompts);

  /// Of the last generation: with dynamic sampling how many prompts were drawn for it, and how many of them
  /// were replaced.
  std::vector<Metric> metrics() const;

  /// Which prompts come next, for checkpoints.
  nlohmann::ordered_json state() const;
  void restore(const nlohmann::ordered_json& state);

 private:
  /// Answers that are being judged.
  struct Round {
    std::vector<Prompt> prompts;
    Generation groups;
    std::optional<reward::Scores> scores;
  };

  /// A generation on its way.
  struct Pending {
    Generation kept = {};
    int64_t next_prompt;  // place
    int64_t num_rounds = 0;
    std::optional<Round> round = {};
  };

  Generation sampled(int64_t number, int64_t begin);
  void draw_round(Pending& pending, int64_t number, int64_t begin);
  void keep_groups(Pending& pending) const;
  Round draw(std::vector<Prompt> prompts, int64_t group_size, generate::GenerateOptions options);
  void judge(Round& round);
  void check_judged(const reward::Scores& scores) const;
  bool is_main() const { return model_.mesh().world().rank() == 0; }

  const RolloutSetup& setup_;
  parallel::DistributedModel& model_;
  std::optional<reward::WeightedRewards> rewards_;
  std::optional<Pending> pending_;              // where it was postponed
  int64_t number_ = -1;                         // of the last generation
  int64_t first_prompt_ = 0, next_prompt_ = 0;  // places: where it began, where the one after it does
};

}  // namespace phalanx::trainer
