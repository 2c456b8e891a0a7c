#include "trainer/model_setup.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "core/error.h"
#include "core/run_options.h"
#include "lora/lora_options.h"
#include "model/initialize.h"
#include "model/model_options.h"
#include "ops/sum_dtype.h"
#include "parallel/parallel_options.h"
#include "trainer/method.h"
#include "trainer/options.h"

namespace phalanx::trainer {
namespace {

constexpr const char* kScore = "score";  // what a reward model trains whole, also under an adapter

}  // namespace

ModelSetup::ModelSetup(const core::Config& config)
    : described_(generate::describe_model(config)), dtype_(config.get<model::ModelOptions>().dtype) {
  if (described_.adapter) {
    core::fail(core::ExitCode::kBadConfig,
               "model.path is the adapter {}; set model.path to its base and lora.path to the adapter, or "
               "merge them first",
               described_.adapter->path.string());
  }
  check_output(config);
}

/// A method of rewards trains a model that scores, whatever the files hold; any other needs one that writes.
void ModelSetup::check_output(const core::Config& config) {
  const MethodKind& method = find_method(config.get<MethodOptions>().name);
  if (method.num_labels == 0 && described_.config.num_labels > 0) {
    core::fail(
        core::ExitCode::kBadConfig,
        "{}: error: model.path is {}, a reward model (score.weight), which method.name: {} cannot train; "
        "name a language model",
        config.position("model.path"), described_.files->path().string(), method.name);
  }
  if (method.num_labels == 0) return;
  make_scoring(method.num_labels, method.labels_tokens);
  const model::TransformerConfig& found = described_.config;
  if (found.num_labels == method.num_labels && found.labels_tokens == method.labels_tokens) return;
  const auto kind = [](bool labels_tokens) { return labels_tokens ? "tokens" : "sequences"; };
  core::fail(
      core::ExitCode::kBadConfig,
      "{}: error: model.path scores {} with num_labels {} but method.name: {} needs a model that scores "
      "{} with {}; name another one, or a language model",
      config.position("model.path"), kind(found.labels_tokens), found.num_labels, method.name,
      kind(method.labels_tokens), method.num_labels);
}

void ModelSetup::make_scoring(int64_t num_labels, bool labels_tokens) {
  if (described_.files) {
    described_.files = described_.files->as_scoring(num_labels, labels_tokens);
    described_.config = described_.files->config();
  } else {
    described_.config.num_labels = num_labels;
    described_.config.labels_tokens = labels_tokens;
  }
}

ModelSetup ModelSetup::as_scoring() const {
  ModelSetup scoring = *this;
  scoring.make_scoring(1, /*labels_tokens=*/false);
  return scoring;
}

std::vector<std::string> ModelSetup::notices() const {
  std::vector<std::string> notices;
  if (described_.files) notices = described_.files->notices();
  const model::TransformerConfig& c = described_.config;
  if (c.num_local_experts > 0 && c.load_balancing_coef() == 0) {
    notices.push_back(
        fmt::format("the router is trained without its load-balancing loss (output_router_logits: {}, "
                    "router_aux_loss_coef: {})",
                    c.output_router_logits, c.router_aux_loss_coef));
  }
  return notices;
}

std::string ModelSetup::name() const {
  return described_.files ? std::filesystem::absolute(described_.files->path()).string()
                          : described_.config.model_type;
}

core::DType ModelSetup::saved_dtype() const {
  if (dtype_ == "fp64") return core::DType::kF64;
  if (dtype_ == "fp32") return core::DType::kF32;
  if (dtype_ == "fp16") return core::DType::kF16;
  if (dtype_ != "auto" || !described_.files) return core::DType::kBF16;
  const core::DType own = described_.files->dtype();
  const bool keeps = own == core::DType::kF64 || own == core::DType::kF32 || own == core::DType::kF16;
  return keeps ? own : core::DType::kBF16;
}

void ModelSetup::check() const {
  if (described_.files) model::check_model(*described_.files);
}

std::shared_ptr<model::CausalLm> ModelSetup::build() const {
  if (!described_.files) described_.config.validate("model");
  return model::build(described_.config);
}

void ModelSetup::fill(model::CausalLm& model, at::ScalarType dtype, uint64_t seed) const {
  if (described_.files) {
    check();
    model::load_weights(model, *described_.files, dtype);
    if (described_.files->has_new_score()) model::initialize(model, dtype, seed);
  } else {
    model::initialize(model, dtype, seed);
  }
}

std::shared_ptr<model::CausalLm> ModelSetup::load(at::ScalarType dtype, uint64_t seed) const {
  auto model = build();
  fill(*model, dtype, seed);
  return model;
}

void check_mesh(const core::Config& config, const model::TransformerConfig& model) {
  const auto& options = config.get<parallel::ParallelOptions>();
  const bool mesh_invariant = config.get<core::RunOptions>().determinism == "mesh_invariant";
  const auto reasons = parallel::why_not(
      model, options.mesh_shape(),
      parallel::distributed_options(options, mesh_invariant, parallel::Recompute::kSelective));
  std::vector<std::string> lines;
  for (const std::string& reason : reasons) {
    const std::string key = reason.substr(0, reason.find(' '));
    lines.push_back(fmt::format("{}: error: {} (the mesh is {})", config.position(key), reason,
                                options.mesh_shape().text()));
  }
  if (!lines.empty()) throw core::ConfigErrors(lines);
}

TrainedModel build_trained_model(const core::Config& config, const ModelSetup& setup,
                                 at::ScalarType compute) {
  const auto seed = static_cast<uint64_t>(config.get<core::RunOptions>().seed);
  const at::ScalarType masters = ops::sum_dtype(compute);
  TrainedModel trained{setup.build(), std::nullopt};
  if (!config.has("lora")) return trained;
  lora::LoraOptions options = config.get<lora::LoraOptions>();
  if (setup.config().num_labels > 0 && std::ranges::count(options.modules_to_save, kScore) == 0)
    options.modules_to_save.emplace_back(kScore);
  trained.adapter = options.path
                        ? lora::load_adapter(*trained.model, lora::open_adapter(*options.path), masters)
                        : lora::apply(*trained.model, options, seed, masters);
  return trained;
}

TrainedModel build_extended_model(const core::Config& config, const ModelSetup& setup,
                                  at::ScalarType compute) {
  TrainedModel trained = build_trained_model(config, setup, compute);
  const MethodKind& method = find_method(config.get<MethodOptions>().name);
  if (method.extend) method.extend(config, *trained.model, ops::sum_dtype(compute));
  return trained;
}

void fill_trained_model(const TrainedModel& trained, const ModelSetup& setup, at::ScalarType compute,
                        uint64_t seed) {
  setup.fill(*trained.model, filled_dtype(trained, compute), seed);
  if (trained.adapter) trained.adapter->settle(*trained.model);
}

at::ScalarType filled_dtype(const TrainedModel& trained, at::ScalarType compute) {
  const at::ScalarType masters = ops::sum_dtype(compute);
  return trained.adapter ? compute : masters;
}

}  // namespace phalanx::trainer
