#include "parallel/distributed_model.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <fmt/ranges.h>

#include "core/error.h"
#include "model/parameter.h"
#include "ops/recomputed.h"
#include "parallel/expert_parallel.h"
#include "parallel/router_totals.h"
#include "parallel/stream_ops.h"
#include "parallel/ulysses_attention.h"

namespace phalanx::parallel {
namespace {

model::NamedTensors frozen_parameters(const model::CausalLm& model) {
  model::NamedTensors parameters = model::all_parameters(model);
  std::erase_if(parameters, [](const auto& item) { return item.second.requires_grad(); });
  return parameters;
}

void keep_activations(model::CausalLm& model) {
  model.set_layer_runner([inner = model.layer_runner()](int64_t layer, const model::Stream& stream,
                                                        const model::LayerBody& body) {
    const ops::KeptActivations scope;
    return inner(layer, stream, body);
  });
}

void recompute_layers(model::CausalLm& model) {
  model.set_layer_runner([inner = model.layer_runner()](int64_t layer, const model::Stream& stream,
                                                        const model::LayerBody& body) {
    return inner(layer, stream, [body](const model::Stream& in) { return recomputed(in, body); });
  });
}

void check_pipeline(const model::TransformerConfig& config, const MeshShape& shape,
                    const DistributedOptions& options, std::vector<std::string>& reasons) {
  const int64_t stages = shape.pp * (shape.pp > 1 ? options.pipeline.chunks_per_rank : 1);
  if (stages > config.num_hidden_layers) {
    reasons.push_back(
        fmt::format("parallel.pp x parallel.virtual_stages is {} stages but must be at most "
                    "num_hidden_layers = {}; try {}",
                    stages, config.num_hidden_layers, config.num_hidden_layers));
  }
  if (shape.pp == 1) return;
  const bool is_v = options.pipeline.kind == PipelineScheduleKind::kZeroBubbleV;
  const bool is_interleaved = options.pipeline.kind == PipelineScheduleKind::kInterleaved1F1B;
  const int64_t v = options.pipeline.chunks_per_rank;
  if (is_v ? v != 2 : !is_interleaved && v != 1) {
    reasons.push_back(
        fmt::format("parallel.virtual_stages is {} but must be {} with parallel.pipeline_schedule: {}", v,
                    is_v ? 2 : 1, name(options.pipeline.kind)));
  }
  if (options.mesh_invariant && options.pipeline.kind != PipelineScheduleKind::k1F1B) {
    reasons.push_back(
        fmt::format("parallel.pipeline_schedule is {} but must be 1f1b with run.determinism: mesh_invariant, "
                    "which adds the "
                    "gradients of one micro-step after the other",
                    name(options.pipeline.kind)));
  }
}

}  // namespace

Recompute parse_recompute(const std::string& name) {
  return name == "none" ? Recompute::kNone : name == "full" ? Recompute::kFull : Recompute::kSelective;
}

std::vector<std::string> why_not(const model::TransformerConfig& config, const MeshShape& shape,
                                 const DistributedOptions& options) {
  std::vector<std::string> reasons = why_no_tensor_parallel(config, shape.tp, options.tensor.allow_uneven);
  check_pipeline(config, shape, options, reasons);
  for (std::string& reason : why_no_expert_parallel(config, shape)) reasons.push_back(std::move(reason));
  if (shape.ep > 1 && options.mesh_invariant) {
    reasons.push_back(
        fmt::format("parallel.ep is {} but must be 1 with run.determinism: mesh_invariant, which adds the "
                    "gradients of one sequence after the other: experts see those of several ranks at once",
                    shape.ep));
  }
  if (shape.cp > 1 && options.context == ContextKind::kRing && config.sliding_window > 0) {
    reasons.push_back(fmt::format(
        "parallel.cp is {} but must be 1 with ring attention and a sliding window ({}: {} tokens), "
        "which blocks of keys do not know; use Ulysses attention, tp or pp",
        shape.cp, config.model_type, config.sliding_window));
  }
  if (shape.cp > 1 && config.rope_scaling && config.rope_scaling->rope_type == "dynamic") {
    reasons.push_back(fmt::format(
        "parallel.cp is {} but must be 1 with rope_type dynamic, which depends on the length of a "
        "whole sample; use tp or pp",
        shape.cp));
  }
  if (shape.cp > 1 && options.context == ContextKind::kUlysses) {
    const int64_t heads = config.num_attention_heads / std::max<int64_t>(1, shape.tp);
    const std::string violation = ulysses_violation(heads, static_cast<int>(shape.cp));
    if (!violation.empty()) reasons.push_back(violation);
  }
  return reasons;
}

DistributedModel::DistributedModel(std::shared_ptr<model::CausalLm> model, const Mesh& mesh,
                                   const DistributedOptions& options)
    : model_(std::move(model)), mesh_(mesh), options_(options) {
  std::vector<std::string> reasons = why_not(model_->config(), mesh.shape(), options);
  if (options.mesh_invariant && !mesh.world().device().is_cpu())
    reasons.push_back(
        "run.determinism is mesh_invariant but the ranks are on GPUs; set parallel.backend: mpi");
  if (!reasons.empty())
    core::fail(core::ExitCode::kBadConfig, "{} ({})", fmt::join(reasons, "; "), mesh.shape().text());
  for (const auto& [name, parameter] : model::all_parameters(*model_)) {
    shapes_.emplace(name, parameter.sizes().vec());
    if (parameter.requires_grad()) trained_names_.push_back(name);
  }
  // The order is a decision: stages first, so that the others see what is here; gradients last.
  apply_pipeline(*model_, mesh, options.pipeline, traits_, groups_);
  apply_expert_parallel(*model_, mesh, traits_);
  apply_tensor_parallel(*model_, mesh, options.tensor, traits_, groups_);
  context_ = std::make_unique<ContextParallel>(*model_, mesh, options.context);
  if (options.recompute == Recompute::kNone) keep_activations(*model_);
  if (options.recompute == Recompute::kFull) recompute_layers(*model_);
  const PipelinePlan placement =
      make_pipeline_plan(mesh.shape().pp > 1 ? options.pipeline.kind : PipelineScheduleKind::k1F1B,
                         mesh.shape().pp, mesh.shape().pp > 1 ? options.pipeline.chunks_per_rank : 1, 1);
  output_stage_rank_ = placement.rank_of(placement.num_stages() - 1);
}

void DistributedModel::take_weights(at::ScalarType compute_dtype) {
  FlatOptions flat{.compute_dtype = compute_dtype,
                   .zero_stage = options_.zero_stage,
                   .shard_rank = mesh_.shard().rank(),
                   .num_shards = mesh_.shard().size(),
                   .expert_shard_rank = mesh_.holders(true).shard.rank(),
                   .num_expert_shards = mesh_.holders(true).shard.size(),
                   .block_bytes = options_.bucket_bytes,
                   .keeps_whole_gradient = options_.mesh_invariant,
                   .device = mesh_.world().device(),
                   .masters_on_host = options_.masters_on_host,
                   .traits = [this](const std::string& name) {
                     const auto found = traits_.find(name);
                     return found == traits_.end() ? ParameterTraits() : found->second;
                   }};
  const model::NamedTensors frozen = frozen_parameters(*model_);
  for (const auto& [name, parameter] : frozen) {
    const at::NoGradGuard no_grad;
    parameter.set_data(parameter.to(flat.device));
  }
  trained_ = std::make_unique<FlatParameters>(model::trainable_parameters(*model_), flat);
  std::vector<FlatParameters*> holders = {trained_.get()};
  if (options_.zero_stage == 3 && !frozen.empty()) {
    flat.is_trained = false;
    frozen_ = std::make_unique<FlatParameters>(frozen, flat);
    holders.push_back(frozen_.get());
  }
  if (options_.zero_stage == 3 && mesh_.shard().size() > 1)
    sharded_ = std::make_unique<ShardedWeights>(*model_, holders, mesh_);
  std::string tied;
  for (const ParameterSlot& slot : trained_->slots()) {
    const bool may_be_tied = model_->config().tie_word_embeddings && model_->config().num_labels == 0;
    if (may_be_tied && slot.param.is_same(model_->output_weight())) tied = slot.name;
  }
  if (!trained_names_.empty())
    grad_sync_ = make_grad_sync(*trained_, mesh_, {options_.mesh_invariant, trained_names_, tied});
  if (mesh_.shape().pp > 1) {
    schedule_ = std::make_unique<PipelineSchedule>(*model_, mesh_, options_.pipeline,
                                                   options_.tensor.sequence_parallel);
  } else {
    schedule_ = std::make_unique<PlainSchedule>(*model_);
  }
  if (model_->num_router_sums() > 0)
    schedule_ = std::make_unique<RouterTotals>(std::move(schedule_), *model_, mesh_);
}

bool DistributedModel::needs_company() const {
  return sharded_ != nullptr || mesh_.shape().ep > 1;
}

int64_t DistributedModel::num_parameters() const {
  int64_t sum = 0;
  for (const auto& [name, shape] : shapes_) sum += c10::multiply_integers(shape);
  return sum;
}

int64_t DistributedModel::num_trained() const {
  int64_t sum = 0;
  for (const std::string& name : trained_names_) sum += c10::multiply_integers(shapes_.at(name));
  return sum;
}

// Of several ranks with the same values one gives them.
bool DistributedModel::answers_for(const FlatParameters* holder, const ParameterTraits& traits) const {
  const bool is_sharded = holder && holder->options().zero_stage > 0;
  const Holders holders = mesh_.holders(traits.is_expert);
  return !traits.is_copy && (is_sharded ? holders.replicate : holders.batch).rank() == 0;
}

at::Tensor DistributedModel::collect(const std::string& name, at::ScalarType dtype, const Values& values) {
  const at::NoGradGuard no_grad;
  at::Tensor whole = at::zeros(shapes_.at(name), at::TensorOptions(mesh_.world().device()).dtype(dtype));
  const auto add_part = [&](const at::Tensor& local, const ParameterTraits& traits) {
    at::Tensor target = whole;
    if (traits.part) {
      for (int64_t d = 0; d < local.dim(); ++d)
        target = target.narrow(d, traits.part->offset[static_cast<size_t>(d)], local.size(d));
    }
    target.copy_(local);
  };
  bool is_held = false;
  for (const FlatParameters* holder : {trained_.get(), frozen_.get()}) {
    if (!holder) continue;
    for (const ParameterSlot& slot : holder->slots()) is_held |= slot.name == name;
    for (const OwnedPiece& piece : holder->owned_pieces()) {
      if (piece.slot->name != name || !answers_for(holder, piece.slot->traits)) continue;
      at::Tensor local = at::zeros({piece.slot->numel}, whole.options());
      local.narrow(0, piece.begin, piece.numel).copy_(values(*holder, piece));
      // Parts of one parameter that several ranks own are added below, byte by byte: each byte has one owner.
      add_part(local.view(piece.slot->sizes), piece.slot->traits);
    }
  }
  for (const auto& [other, parameter] : model::all_parameters(*model_)) {  // frozen and whole
    const auto found = traits_.find(name);
    const ParameterTraits traits = found == traits_.end() ? ParameterTraits() : found->second;
    if (is_held || other != name || !answers_for(nullptr, traits)) continue;
    add_part(parameter.to(dtype), traits);
  }
  if (mesh_.world().size() > 1) mesh_.world().all_reduce(whole.view(-1).view(at::kByte));
  return whole.cpu();
}

at::Tensor DistributedModel::whole_weight(const std::string& name) {
  const bool is_trained =
      std::find(trained_names_.begin(), trained_names_.end(), name) != trained_names_.end();
  const at::ScalarType dtype = is_trained ? trained_->master_dtype() : trained_->compute_dtype();
  return collect(name, dtype,
                 [](const FlatParameters& holder, const OwnedPiece& piece) { return holder.master(piece); });
}

at::Tensor DistributedModel::whole_gradient(const std::string& name) {
  return collect(name, trained_->master_dtype(), [](const FlatParameters& holder, const OwnedPiece& piece) {
    return holder.owned_grad(piece);
  });
}

void DistributedModel::with_whole_weights(const std::function<void(const model::WeightSource&)>& body) {
  comm::Communicator& world = mesh_.world();
  if (world.rank() != 0) {
    for (std::string name = world.broadcast_string(""); !name.empty(); name = world.broadcast_string(""))
      whole_weight(name);
    return;
  }
  body([&](const std::string& name) {
    world.broadcast_string(name);
    return whole_weight(name);
  });
  world.broadcast_string("");
}

}  // namespace phalanx::parallel
