#include "trainer/next_token.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include "core/run_options.h"
#include "data/sampler.h"
#include "trainer/data_setup.h"
#include "trainer/evaluate.h"
#include "trainer/options.h"

namespace phalanx::trainer {
namespace {

class NextToken : public Method {
 public:
  NextToken(SampleSource source, parallel::DistributedModel& model, const BatchSizes& sizes)
      : model_(model), loader_(std::move(source), loader_options(sizes, model)) {}

  std::vector<data::Batch> load(int64_t step) override { return loader_.load(step); }

  void begin_step(std::vector<data::Batch>&, const TokenCounts& counts) override {
    grad_scale_ = 1.0 / static_cast<double>(counts.targets);
  }

  at::Tensor loss(size_t, const data::Batch& local, const model::LayersOutput& output) override {
    model::CausalLm& model = model_.model();
    const at::Tensor sum = model.head().cross_entropy(output.hidden, model.output_weight(),
                                                      labels(local, output.hidden.device()), grad_scale_);
    return with_auxiliary_loss(sum * grad_scale_, model, output);
  }

 protected:
  parallel::DistributedModel& model() const { return model_; }

 private:
  parallel::DistributedModel& model_;
  Loader loader_;
  double grad_scale_ = 1;
};

class SourceTask : public Task {
 public:
  explicit SourceTask(SampleSource source) : source_(std::move(source)) {}
  int64_t epoch_size() const override { return 1; }
  std::unique_ptr<Method> start(const TrainedModel&, parallel::DistributedModel& model,
                                const BatchSizes& sizes) const override {
    return std::make_unique<NextToken>(source_, model, sizes);
  }

 private:
  SampleSource source_;
};

class EvaluatedNextToken : public NextToken {
 public:
  EvaluatedNextToken(SampleSource source, parallel::DistributedModel& model, const BatchSizes& sizes,
                     const std::optional<data::Dataset>& eval, std::optional<int64_t> max_sequences)
      : NextToken(std::move(source), model, sizes), eval_(eval), max_sequences_(max_sequences) {}

  std::optional<Evaluation> evaluate() override {
    if (!eval_) return std::nullopt;
    const EvalResult result = trainer::evaluate(model(), *eval_, max_sequences_);
    return Evaluation{fmt::format("eval_loss {:.4f}, perplexity {:.2f} on {} targets", result.loss,
                                  result.perplexity(), result.target_tokens),
                      {{"eval_loss", result.loss},
                       {"eval_perplexity", result.perplexity()},
                       {"eval_target_tokens", result.target_tokens}}};
  }

 private:
  const std::optional<data::Dataset>& eval_;
  std::optional<int64_t> max_sequences_;
};

/// `sft` and `pretrain` differ in their data, not in their loss.
class TokenSetTask : public Task {
 public:
  TokenSetTask(const core::Config& config, const ModelSetup& setup, comm::Communicator& group)
      : data_(set_up_data(config, setup, group, report_)),
        sampler_(make_sampler(config, data_.train.sources())),
        max_sequences_(config.get<EvalOptions>().max_sequences) {}

  std::string report() const override { return report_; }
  int64_t epoch_size() const override { return sampler_.epoch_size(); }
  std::unique_ptr<Method> start(const TrainedModel&, parallel::DistributedModel& model,
                                const BatchSizes& sizes) const override {
    const auto source = [this](int64_t sample) {
      return data_.train.sequence(sampler_.sequence_index(sample));
    };
    return std::make_unique<EvaluatedNextToken>(source, model, sizes, data_.eval, max_sequences_);
  }

 private:
  std::string report_;
  TrainingData data_;
  data::Sampler sampler_;
  std::optional<int64_t> max_sequences_;
};

std::unique_ptr<Task> open_token_sets(const core::Config& config, const ModelSetup& setup,
                                      comm::Communicator& group) {
  return std::make_unique<TokenSetTask>(config, setup, group);
}

}  // namespace

std::vector<MethodKind> next_token_methods() {
  return {
      {"pretrain", "Next-token prediction on every token.", {}, open_token_sets},
      {"sft", "Supervised fine-tuning: next-token prediction where data.loss_on says.", {}, open_token_sets}};
}

std::unique_ptr<Task> next_token_task(SampleSource source) {
  return std::make_unique<SourceTask>(std::move(source));
}

at::Tensor with_auxiliary_loss(const at::Tensor& loss, model::CausalLm& model,
                               const model::LayersOutput& output) {
  const at::Tensor auxiliary = model.auxiliary_loss(output.router_sums);
  return auxiliary.defined() ? loss + auxiliary.to(loss.scalar_type()) : loss;
}

}  // namespace phalanx::trainer
