#include "launch/reward_judge.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <filesystem>

#include "core/error.h"
#include "core/hash.h"
#include "core/log.h"
#include "data/judged_example.h"
#include "launch/loaded_model.h"
#include "pipeline/file_stamp.h"
#include "trainer/model_setup.h"
#include "trainer/options.h"
#include "trainer/training_run.h"

namespace phalanx::launch {
namespace {

using Ids = std::vector<int32_t>;

/// The config under which the program builds the model that `path` names.
core::Config config_of_rewards(const std::string& path) {
  const generate::ModelDescription found =
      generate::describe_model(core::Config::defaults({"model.path=" + path}));
  const bool scores = found.adapter ? std::ranges::count(found.adapter->config.modules_to_save, "score") > 0
                                    : found.config.num_labels > 0;
  if (!scores)
    core::fail(core::ExitCode::kBadInput,
               "{}: is no reward model: it has no score.weight; name what a run of method: reward has made",
               path);
  if (!found.adapter) return core::Config::defaults({"method.name=reward", "model.path=" + path});
  // Adapters are built in the dtype of masters.
  const std::filesystem::path& adapter = found.adapter->path;
  const auto folder = std::filesystem::is_directory(adapter) ? adapter : adapter.parent_path();
  return core::Config::defaults({"method.name=reward", "model.path=" + found.files->path().string(),
                                 "lora.path=" + folder.string(), "train.precision=fp32"});
}

class RewardScorer {
 public:
  explicit RewardScorer(const std::string& path)
      : config_(config_of_rewards(path)),
        setup_(config_),
        compute_(trainer::compute_dtype(config_.get<trainer::TrainOptions>().precision)),
        model_(trainer::build_trained_model(config_, setup_, compute_)),
        builder_(setup_.tokenizer(), {.chat_template = setup_.chat_template()}) {
    set_threads(config_);
    trainer::fill_trained_model(model_, setup_, compute_, /*seed=*/0);
  }

  double margin(const label::AnswerPair& pair) const {
    const core::Json row = {{"prompt", pair.prompt},
                            {"chosen", pair.answers[0]},
                            {"rejected", pair.answers[1]},
                            {"tools", pair.tools}};
    const data::PreferenceExample example =
        builder_.preference(data::parse_record(core::to_text(row), "preference"));
    return score(example.chosen.ids) - score(example.rejected.ids);
  }

 private:
  double score(const Ids& ids) const {
    const at::NoGradGuard no_grad;
    const auto count = static_cast<int64_t>(ids.size());
    const at::Tensor input = at::tensor(std::vector<int64_t>(ids.begin(), ids.end()), at::kLong);
    const at::Tensor hidden =
        model_.model->hidden({input, at::arange(count, at::kLong), {0, static_cast<int32_t>(count)}});
    const at::Tensor last = hidden.slice(0, count - 1);  // [1, h]
    return model_.model->head()
        .scores(last, model_.model->output_weight(), {})
        .to(at::kDouble)
        .item<double>();
  }

  core::Config config_;
  trainer::ModelSetup setup_;
  at::ScalarType compute_;
  trainer::TrainedModel model_;
  data::JudgedExampleBuilder builder_;
};

/// Of the contents of its files.
std::string hash_of_model(const std::string& path) {
  core::Hasher hasher;
  for (const auto& [file, stamp] : pipeline::stamp_files(path, {})) hasher.add_field(stamp.hash);
  return hasher.digest_128().hex();
}

}  // namespace

label::Judge reward_judge(const std::string& model) {
  return {hash_of_model(model), [model](const std::vector<const label::AnswerPair*>& pairs) {
            const RewardScorer scorer(model);
            std::vector<double> margins;
            for (const label::AnswerPair* pair : pairs) {
              margins.push_back(scorer.margin(*pair));
              core::set_status_line(fmt::format("scored {} of {} pairs", margins.size(), pairs.size()));
            }
            core::set_status_line("");
            return margins;
          }};
}

}  // namespace phalanx::launch
