#include "trainer/online/reward_model.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <numeric>

#include "core/error.h"
#include "model/initialize.h"
#include "parallel/parallel_options.h"
#include "trainer/reward.h"

namespace phalanx::trainer {
namespace {

constexpr const char* kTerm = "reward.terms: reward_model";

generate::ModelDescription describe_reward_model(const std::string& path) {
  if (path.empty()) {
    core::fail(core::ExitCode::kBadConfig,
               "{}: needs path, the folder of a reward model, such as final/ of a run of method reward",
               kTerm);
  }
  try {
    generate::ModelDescription described =
        generate::describe_model(core::Config::defaults({"model.path=" + path}));
    if (described.adapter) described.files = described.files->as_scoring(1);
    described.config = described.files->config();
    return described;
  } catch (const core::Error& error) {
    core::fail(error.code(), "{}: {}", kTerm, error.what());
  }
}

/// Experts are all that ep shares out.
parallel::MeshShape shape_for(const model::TransformerConfig& config, parallel::MeshShape shape) {
  if (config.num_local_experts == 0) shape.ep = 1;
  return shape;
}

void check_reward_mesh(const std::string& path, const model::TransformerConfig& model,
                       const core::Config& config) {
  const auto& options = config.get<parallel::ParallelOptions>();
  auto distributed = parallel::distributed_options(options, false, parallel::Recompute::kSelective);
  distributed.pipeline = {};
  const auto reasons = parallel::why_not(model, shape_for(model, options.mesh_shape()), distributed);
  if (reasons.empty()) return;
  core::fail(core::ExitCode::kBadConfig, "{}: {} is spread over the ranks as the policy is, but {}", kTerm,
             path, fmt::join(reasons, "; "));
}

data::Sequence scored_sequence(std::vector<int32_t> ids) {
  data::Sequence sequence;
  sequence.labels.assign(ids.size(), static_cast<int32_t>(data::kIgnoredLabel));
  sequence.position_ids.resize(ids.size());
  std::iota(sequence.position_ids.begin(), sequence.position_ids.end(), 0);
  sequence.lengths = {static_cast<int32_t>(ids.size())};
  sequence.record_ids = {0};
  sequence.input_ids = std::move(ids);
  mark_last_rows(sequence);
  return sequence;
}

class ModelReward : public reward::Reward {
 public:
  ModelReward(const FrozenModel& frozen, const ScoredText& text, const parallel::DistributedModel& policy,
              const model::TransformerConfig& config, at::ScalarType dtype)
      : text_(text),
        max_tokens_(config.max_position_embeddings),
        own_mesh_(own_mesh(policy.mesh(), config)),
        copy_(frozen, own_mesh_ ? *own_mesh_ : policy.mesh(), options_like(policy.options()), dtype) {}

  std::vector<reward::Judgement> score(std::span<const reward::Sample> samples,
                                       const core::StopRequest&) override {
    if (samples.empty()) return {};
    const auto count = static_cast<int64_t>(samples.size());
    const parallel::Mesh& mesh = copy_.model().mesh();
    comm::Communicator& dp = mesh.dp();
    const int64_t share = (count + dp.size() - 1) / dp.size(), first = share * dp.rank();
    at::Tensor table = at::zeros({2, count}, at::kDouble);  // scores, lengths
    for (int64_t i = first; i < first + share; ++i) {       // as many forwards on each rank
      std::vector<int32_t> ids = text_.ids(samples[static_cast<size_t>(std::min(i, count - 1))]);
      const auto length = static_cast<int64_t>(ids.size());
      ids.resize(static_cast<size_t>(std::min(length, max_tokens_)));
      const std::optional<double> score = score_of(scored_sequence(std::move(ids)));
      if (!score || i >= count) continue;
      table[0][i] = *score;
      table[1][i] = length;
    }
    table = table.to(mesh.world().device());
    dp.all_reduce(table);  // each number has one addend
    mesh.pp().all_reduce(table);
    return judgements(table.cpu());
  }

 private:
  static std::unique_ptr<parallel::Mesh> own_mesh(const parallel::Mesh& mesh,
                                                  const model::TransformerConfig& config) {
    const parallel::MeshShape shape = shape_for(config, mesh.shape());
    return shape.ep == mesh.shape().ep ? nullptr : std::make_unique<parallel::Mesh>(mesh.world(), shape);
  }

  static parallel::DistributedOptions options_like(parallel::DistributedOptions options) {
    options.pipeline = {};  // it has layers enough for stages, but perhaps not for virtual ones
    return options;
  }

  /// On ranks with the last layers.
  std::optional<double> score_of(const data::Sequence& sequence) {
    const at::NoGradGuard no_grad;
    parallel::DistributedModel& model = copy_.model();
    const data::Batch local = model.local(data::join({sequence}));
    const at::Tensor hidden =
        model.schedule().forward(model_input(local, model.parameters().options().device)).hidden;
    std::optional<double> score;
    if (model.has_output()) score = sample_scores(model, local, hidden).item<double>();
    model.drop_gathered();
    return score;
  }

  std::vector<reward::Judgement> judgements(const at::Tensor& table) const {
    std::vector<reward::Judgement> all;
    for (int64_t i = 0; i < table.size(1); ++i) {
      const auto length = table[1][i].item<int64_t>();
      if (length <= max_tokens_) {
        all.push_back({table[0][i].item<double>(), {}});
        continue;
      }
      all.push_back({std::nullopt, fmt::format("prompt and answer have {} tokens, but the model reads {}",
                                               length, max_tokens_)});
    }
    return all;
  }

  const ScoredText& text_;
  int64_t max_tokens_;
  std::unique_ptr<parallel::Mesh> own_mesh_;
  FrozenCopy copy_;
};

}  // namespace

RewardModelFiles::RewardModelFiles(const std::string& path, const core::Config& config,
                                   const data::Tokenizer& policy)
    : path_(path),
      described_(describe_reward_model(path)),
      shares_ids_(described_.tokenizer->fingerprint() == policy.fingerprint()),
      text_(*described_.tokenizer, described_.chat_template, shares_ids_) {
  check_score();
  check_vocabulary();
  check_reward_mesh(path, described_.config, config);
}

void RewardModelFiles::check_score() const {
  const model::TransformerConfig& config = described_.config;
  if (config.num_labels != 1 || config.labels_tokens) {
    core::fail(core::ExitCode::kBadConfig,
               "{}: {} {}; a reward model is of class *ForSequenceClassification with one label, as method "
               "reward leaves it in final/",
               kTerm, path_,
               config.num_labels == 0
                   ? std::string("has no score.weight: it is a language model")
                   : fmt::format("scores {} with num_labels {}",
                                 config.labels_tokens ? "tokens" : "sequences", config.num_labels));
  }
  if (!described_.adapter) return model::check_model(*described_.files);
  const auto model = model::build(described_.config);
  const lora::Adapter adapter = lora::attach_adapter(*model, *described_.adapter, at::kFloat, false);
  if (described_.files->has_new_score() && !adapter.saves_whole(model::kScoreWeight)) {
    core::fail(core::ExitCode::kBadConfig,
               "{}: {} has no score.weight: it is an adapter of a language model; a reward adapter has "
               "modules_to_save: [score], as method reward with lora leaves it in final/",
               kTerm, path_);
  }
}

void RewardModelFiles::check_vocabulary() const {
  const int64_t ids = described_.tokenizer->vocab_size(), rows = described_.config.vocab_size;
  if (ids <= rows) return;
  core::fail(core::ExitCode::kBadConfig,
             "{}: {} has a tokenizer of {} ids but an embedding of {} rows; put the tokenizer it was trained "
             "with beside its weights",
             kTerm, path_, ids, rows);
}

std::string RewardModelFiles::report() const {
  return fmt::format("{}: {}, reads {}", kTerm, path_,
                     shares_ids_ ? "the ids of the answers" : "text through its own tokenizer");
}

FrozenModel RewardModelFiles::frozen() const {
  const auto build = [config = described_.config] { return model::build(config); };
  const auto fill = [files = *described_.files](model::CausalLm& model, at::ScalarType dtype) {
    model::load_weights(model, files, dtype);
    if (files.has_new_score()) model::initialize(model, dtype, /*seed=*/0);  // until the adapter's comes
  };
  return described_.adapter ? with_adapter({build, fill}, *described_.adapter) : FrozenModel{build, fill};
}

std::shared_ptr<reward::Reward> RewardModelFiles::start(const parallel::DistributedModel& policy,
                                                        at::ScalarType compute_dtype) const {
  return std::make_shared<ModelReward>(frozen(), text_, policy, described_.config, compute_dtype);
}

}  // namespace phalanx::trainer
