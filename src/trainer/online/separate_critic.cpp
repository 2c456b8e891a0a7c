#include "trainer/online/separate_critic.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include "core/run_options.h"
#include "generate/open_model.h"
#include "ops/sum_dtype.h"
#include "trainer/alignment_options.h"
#include "trainer/final_model.h"
#include "trainer/next_token.h"
#include "trainer/sample_sums.h"
#include "trainer/saved_state.h"

namespace phalanx::trainer {
namespace {

core::Config scoring_config(const std::string& path) {
  return core::Config::defaults({"model.path=" + path, "method.name=reward"});
}

/// At work on the policy's mesh.
class CriticModel : public Critic {
 public:
  CriticModel(const SeparateCritic& critic, parallel::DistributedModel& policy)
      : critic_(critic),
        compute_(policy.parameters().compute_dtype()),
        trained_(critic.build(compute_)),
        model_(trained_.model, policy.mesh(), policy.options()) {
    fill_trained_model(trained_, critic.setup(), compute_, critic.seed());
    model_.take_weights(compute_);
  }

  at::Tensor values(const data::Batch& local) override {
    const at::NoGradGuard no_grad;
    const at::Device device = model_.parameters().options().device;
    const at::Tensor hidden = model_.schedule().forward(model_input(local, device)).hidden;
    const at::Tensor values = model_.has_output() ? scores(hidden) : at::Tensor();
    model_.drop_gathered();
    return values;
  }

  std::vector<Companion> companions(const ValueLoss& loss) override {
    return {{std::string(kCriticPrefix), model_,
             [this, &loss](size_t, const data::Batch& local, const model::LayersOutput& output) {
               return with_auxiliary_loss(loss(scores(output.hidden), local), model_.model(), output);
             }}};
  }

  void write(const std::filesystem::path& final_folder) override {
    model_.with_whole_weights([&](const model::WeightSource& weights) {
      write_final_model(
          final_folder / "critic", [this] { return critic_.build(compute_); }, critic_.setup(), weights,
          compute_);
    });
  }

 private:
  at::Tensor scores(const at::Tensor& hidden) const {
    return row_scores(hidden, model_.mesh().tp(), [&](const at::Tensor& rows) {
      return model_.model().head().scores(rows, model_.model().output_weight(), {});
    });
  }

  const SeparateCritic& critic_;
  at::ScalarType compute_;
  TrainedModel trained_;
  parallel::DistributedModel model_;
};

}  // namespace

SeparateCritic::SeparateCritic(const core::Config& config, const ModelSetup& policy)
    : seed_(static_cast<uint64_t>(config.get<core::RunOptions>().seed)) {
  open(config, policy);
  if (setup_->config().vocab_size != policy.config().vocab_size) {
    fail_method_key(
        config, "value_model",
        fmt::format("is {} with vocab_size {}, but the policy has {}; a critic must have its tokens",
                    setup_->name(), setup_->config().vocab_size, policy.config().vocab_size));
  }
  if (stored_ || !config.has("lora")) return;
  fresh_ = config.get<lora::LoraOptions>();
  fresh_->path.reset();
  fresh_->modules_to_save = {"score"};
}

void SeparateCritic::open(const core::Config& config, const ModelSetup& policy) {
  const auto& path = config.get<MethodOptions>().value_model;
  if (!path) {
    setup_ = policy.as_scoring();
    return;
  }
  generate::ModelDescription described = generate::describe_model(scoring_config(*path));
  stored_ = std::move(described.adapter);
  setup_.emplace(scoring_config(stored_ ? described.files->path().string() : *path));
}

TrainedModel SeparateCritic::build(at::ScalarType compute) const {
  const at::ScalarType masters = ops::sum_dtype(compute);
  TrainedModel trained{setup_->build(), std::nullopt};
  if (stored_) trained.adapter = lora::load_adapter(*trained.model, *stored_, masters);
  if (fresh_) trained.adapter = lora::apply(*trained.model, *fresh_, seed_, masters);
  return trained;
}

std::unique_ptr<Critic> SeparateCritic::start(parallel::DistributedModel& policy) const {
  return std::make_unique<CriticModel>(*this, policy);
}

}  // namespace phalanx::trainer
