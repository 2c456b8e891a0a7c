#include "trainer/online/reward_terms.h"

#include <bit>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "trainer/online/reward_model.h"

namespace phalanx::trainer {
namespace {

using reward::Judgement;

/// Numbers as their bits: JSON has no word for those that are not finite.
std::string text_of(const std::vector<Judgement>& judgements) {
  nlohmann::json rows = nlohmann::json::array();
  for (const Judgement& judgement : judgements) {
    nlohmann::json score;
    if (judgement.score) score = std::bit_cast<uint64_t>(*judgement.score);
    rows.push_back({score, judgement.problem});
  }
  return rows.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::vector<Judgement> judgements_of(const std::string& text) {
  std::vector<Judgement> judgements;
  for (const auto& row : nlohmann::json::parse(text)) {
    Judgement judgement{std::nullopt, row[1]};
    if (!row[0].is_null()) judgement.score = std::bit_cast<double>(row[0].get<uint64_t>());
    judgements.push_back(std::move(judgement));
  }
  return judgements;
}

/// A term that rank 0 computes and all ranks know.
class OnFirstRank : public reward::Reward {
 public:
  OnFirstRank(std::shared_ptr<reward::Reward> term, comm::Communicator& world)
      : term_(std::move(term)), world_(world) {}

  std::vector<Judgement> score(std::span<const reward::Sample> samples) override {
    return judgements_of(world_.broadcast_string(world_.rank() == 0 ? text_of(term_->score(samples)) : ""));
  }

 private:
  std::shared_ptr<reward::Reward> term_;
  comm::Communicator& world_;
};

}  // namespace

RewardTerms::RewardTerms(const core::Config& config, const data::Tokenizer& policy) {
  const auto& options = config.get<reward::RewardOptions>();
  if (options.terms.empty())
    core::fail(
        core::ExitCode::kBadConfig,
        "reward.terms is empty; say what an answer is worth: reward: {{terms: [{{name: numeric_match}}]}}");
  for (const reward::TermOptions& term : options.terms) {
    const reward::RewardKind& kind = reward::find_reward_kind(term.name);
    if (kind.make) {
      std::shared_ptr<reward::Reward> reward = kind.make(term);
      terms_.push_back({term.name, term.weight, "", [reward](parallel::DistributedModel& model) {
                          return std::make_shared<OnFirstRank>(reward, model.mesh().world());
                        }});
      continue;
    }
    const auto files = std::make_shared<const RewardModelFiles>(term.path, config, policy);
    terms_.push_back({term.name, term.weight, files->report(), [files](parallel::DistributedModel& model) {
                        return files->start(model, model.parameters().compute_dtype());
                      }});
  }
}

std::string RewardTerms::report() const {
  std::string text;
  for (const Term& term : terms_) {
    if (!term.report.empty()) text += term.report + "\n";
  }
  return text;
}

reward::WeightedRewards RewardTerms::start(parallel::DistributedModel& policy) const {
  std::vector<reward::WeightedReward> rewards;
  for (const Term& term : terms_) rewards.push_back({term.name, term.weight, term.start(policy)});
  return reward::WeightedRewards(std::move(rewards));
}

}  // namespace phalanx::trainer
