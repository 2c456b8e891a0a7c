#include "parallel/pipeline.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "model/embedding.h"
#include "model/kv_cache.h"
#include "ops/deferred_gradients.h"
#include "parallel/collective_ops.h"

namespace phalanx::parallel {
namespace {

// The number of the layer in a path, or -1: "model.layers.3.mlp" is 3.
int64_t layer_of(const std::string& path) {
  const std::string unit = unit_of(path + ".x");
  const std::string last = unit.substr(unit.rfind('.') + 1);
  return last.find_first_not_of("0123456789") == std::string::npos ? std::stoll(last) : -1;
}

PipelinePlan placement(const PipelineOptions& options, int64_t num_ranks) {
  return make_pipeline_plan(options.kind, num_ranks, options.chunks_per_rank, 1);
}

// Messages of one kind arrive in the order in which they were sent.
int stream_tag(PipelinePayload payload) {
  return 2 * static_cast<int>(payload);
}
int sums_tag(PipelinePayload payload) {
  return stream_tag(payload) + 1;
}

// The parameter of the embedding by name, where the output matrix is the same tensor.
std::string tied_name(model::CausalLm& model) {
  for (const auto& [path, module] : model.named_modules()) {
    const auto* embedding = dynamic_cast<const model::Embedding*>(module.get());
    if (embedding && embedding->weight.is_same(model.output_weight())) return path + ".weight";
  }
  return {};
}

}  // namespace

model::LayerRange layers_of_stage(int64_t stage, int64_t num_stages, const model::TransformerConfig& c) {
  const int64_t heads = c.num_attention_heads, keys = c.num_key_value_heads, layers = c.num_hidden_layers;
  const int64_t attention = 2 * c.hidden_size * (heads + keys) * c.head_dim;
  const int64_t feed_forward =
      3 * c.hidden_size * c.intermediate_size * std::max<int64_t>(1, c.num_experts_per_tok);
  const auto layer = static_cast<double>(attention + feed_forward);
  const double head = static_cast<double>(c.vocab_size * c.hidden_size), total = layer * layers + head;
  // First layer of stage s; one layer for every stage before and behind it.
  const auto first = [&](int64_t s) {
    const auto even = static_cast<int64_t>(std::llround(total * s / (num_stages * layer)));
    return s == num_stages ? layers : std::clamp(even, s, layers - (num_stages - s));
  };
  return {first(stage), first(stage + 1)};
}

void apply_pipeline(model::CausalLm& model, const Mesh& mesh, const PipelineOptions& options, Traits& traits,
                    std::vector<std::unique_ptr<comm::Communicator>>& groups) {
  const int64_t ranks = mesh.shape().pp, rank = mesh.position().pp;
  if (ranks == 1) return;
  const PipelinePlan plan = placement(options, ranks);
  const int64_t num_stages = plan.num_stages();
  std::set<int64_t> own_layers;
  for (int64_t chunk = 0; chunk < plan.chunks_per_rank; ++chunk) {
    const auto range = layers_of_stage(plan.stage_of(rank, chunk), num_stages, model.config());
    for (int64_t layer = range.begin; layer < range.end; ++layer) own_layers.insert(layer);
  }
  const int64_t first = plan.rank_of(0), last = plan.rank_of(num_stages - 1);
  const std::string tied = tied_name(model);
  std::vector<std::string> removed;
  for (const auto& [path, module] : model.named_modules()) {
    const int64_t layer = layer_of(path);
    const bool is_layer = layer >= 0 && unit_of(path + ".x") == path;
    if (is_layer && !own_layers.contains(layer)) removed.push_back(path);
    const bool is_leaf = module->named_modules().empty() && !module->named_parameters().empty();
    if (layer >= 0 || !is_leaf) continue;  // below: embedding, last norm, head
    const bool is_embedding = dynamic_cast<const model::Embedding*>(module.get()) != nullptr;
    const bool is_here =
        is_embedding ? rank == first || (rank == last && path + ".weight" == tied) : rank == last;
    if (!is_here) removed.push_back(path);
  }
  for (const std::string& path : removed) model.remove_module(path);
  if (tied.empty() || first == last) return;
  groups.push_back(mesh.pp().split(rank == first || rank == last ? 0 : 1, static_cast<int>(rank)));
  if (rank != first && rank != last) return;
  traits[tied].tied_over = groups.back().get();
  traits[tied].is_copy |= rank == last;
}

PipelineSchedule::PipelineSchedule(model::CausalLm& model, const Mesh& mesh, const PipelineOptions& options,
                                   bool sequence_parallel)
    : model_(model),
      mesh_(mesh),
      options_(options),
      sequence_parallel_(sequence_parallel),
      stream_options_(model.named_parameters().front().second.options().requires_grad(false)) {}

const PipelinePlan& PipelineSchedule::plan(int64_t num_micro_steps) {
  const auto found = plans_.find(num_micro_steps);
  if (found != plans_.end()) return found->second;
  return plans_
      .emplace(num_micro_steps,
               make_pipeline_plan(options_.kind, mesh_.shape().pp, options_.chunks_per_rank, num_micro_steps))
      .first->second;
}

model::LayerRange PipelineSchedule::range_of(int64_t stage, const PipelinePlan& plan) const {
  return layers_of_stage(stage, plan.num_stages(), model_.config());
}

model::LayersOutput PipelineSchedule::receive(const PipelineMessage& message, const PipelinePlan& plan,
                                              int64_t num_tokens) {
  const int64_t from = plan.rank_of(message.from_stage);
  if (from == mesh_.position().pp) {
    auto node = handed_over_.extract({message.payload, {message.micro_batch, message.to_stage}});
    TORCH_INTERNAL_ASSERT(!node.empty(), "pipeline: nothing was handed over");
    return node.mapped();
  }
  const auto arrived = [&](at::Tensor tensor, int tag) {
    mesh_.pp().recv(tensor, static_cast<int>(from), tag);
    return tensor;
  };
  const int64_t rows = sequence_parallel_ ? rows_per_rank(num_tokens, mesh_.tp()) : num_tokens;
  model::LayersOutput values;
  values.hidden =
      arrived(at::empty({rows, model_.config().hidden_size}, stream_options_), stream_tag(message.payload));
  if (model_.num_router_sums() > 0)
    values.router_sums = arrived(at::empty({model_.num_router_sums()}, stream_options_.dtype(at::kDouble)),
                                 sums_tag(message.payload));
  return values;
}

void PipelineSchedule::send(const PipelineMessage& message, const PipelinePlan& plan,
                            const model::LayersOutput& values) {
  const int64_t to = plan.rank_of(message.to_stage);
  const auto detached = [](const at::Tensor& tensor) {
    return tensor.defined() ? tensor.detach().contiguous() : at::Tensor();
  };
  const model::LayersOutput plain = {detached(values.hidden), detached(values.router_sums)};
  if (to == mesh_.position().pp) {
    handed_over_[{message.payload, {message.micro_batch, message.to_stage}}] = plain;
    return;
  }
  const auto depart = [&](const at::Tensor& tensor, int tag) {
    sent_.push_back({tensor, mesh_.pp().send_async(tensor, static_cast<int>(to), tag)});
  };
  depart(plain.hidden, stream_tag(message.payload));
  if (plain.router_sums.defined()) depart(plain.router_sums, sums_tag(message.payload));
}

void PipelineSchedule::wait_for_sends() {
  for (Sent& sent : sent_) sent.work->wait();
  sent_.clear();
}

/// One optimizer step.
class PipelineSchedule::Run {
 public:
  Run(PipelineSchedule& pipeline, const PipelinePlan& plan, const StepWork& work, GradSync& grad_sync)
      : pipeline_(pipeline),
        plan_(plan),
        work_(work),
        grad_sync_(grad_sync),
        rank_(pipeline.mesh_.position().pp),
        losses_(static_cast<size_t>(work.num_micro_steps), 0.0) {}

  std::vector<double> run() {
    grad_sync_.begin_step(work_.num_micro_steps);
    for (const PipelineStep& step : plan_.steps[static_cast<size_t>(rank_)]) {
      switch (step.action) {
        case PipelineAction::kForward:
          forward(step);
          break;
        case PipelineAction::kBackward:
          backward(step);
          grad_sync_.after_backward(step.micro_batch);
          break;
        case PipelineAction::kBackwardInput: {
          const ops::DeferredGradients::Scope scope(live_[key(step)].left);
          backward(step);
          break;
        }
        case PipelineAction::kBackwardWeight:
          grad_sync_.before_backward(step.micro_batch);
          live_[key(step)].left.run();
          grad_sync_.after_backward(step.micro_batch);
          break;
      }
      const bool is_done =
          step.action == PipelineAction::kBackward || step.action == PipelineAction::kBackwardWeight;
      if (is_done) live_.erase(key(step));
    }
    pipeline_.wait_for_sends();
    return losses_;
  }

 private:
  // What one micro-step has on one of this rank's stages between its forward and the end of its backward.
  struct Live {
    model::LayersOutput input, output;  // leaves with gradients; to the next stage
    at::Tensor loss;                    // of the last stage, which has no output
    int64_t num_tokens = 0;
    ops::DeferredGradients left;
  };
  using Key = std::pair<int64_t, int64_t>;
  static Key key(const PipelineStep& step) { return {step.micro_batch, step.chunk}; }

  void forward(const PipelineStep& step) {
    const model::ModelInput input = work_.input(step.micro_batch);
    const int64_t stage = plan_.stage_of(rank_, step.chunk), num_tokens = input.position_ids.size(0);
    Live live;
    live.num_tokens = num_tokens;
    if (const auto message = plan_.input_of(rank_, step)) {
      live.input = pipeline_.receive(*message, plan_, num_tokens);
      for (const at::Tensor& tensor : {live.input.hidden, live.input.router_sums}) {
        if (tensor.defined()) tensor.set_requires_grad(true);
      }
    }
    const model::LayersOutput output =
        pipeline_.model_.run_layers(input, live.input, pipeline_.range_of(stage, plan_));
    if (const auto message = plan_.output_of(rank_, step)) {
      pipeline_.send(*message, plan_, output);
      live.output = output;
    } else {
      live.loss = work_.loss(step.micro_batch, output);
      losses_[static_cast<size_t>(step.micro_batch)] = live.loss.item<double>();
    }
    live_[key(step)] = std::move(live);
  }

  void backward(const PipelineStep& step) {
    Live& live = live_[key(step)];
    model::LayersOutput gradient;
    if (const auto message = plan_.input_of(rank_, step))
      gradient = pipeline_.receive(*message, plan_, live.num_tokens);
    grad_sync_.before_backward(step.micro_batch);
    torch::autograd::variable_list roots, gradients;
    const auto add_root = [&](const at::Tensor& root, const at::Tensor& root_gradient) {
      if (!root.defined() || !root.requires_grad()) return;
      roots.push_back(root);
      gradients.push_back(root_gradient);
    };
    add_root(live.loss, {});
    add_root(live.output.hidden, gradient.hidden);
    add_root(live.output.router_sums, gradient.router_sums);
    if (!roots.empty()) torch::autograd::backward(roots, gradients);
    live.loss = at::Tensor();
    live.output = {};
    if (const auto message = plan_.output_of(rank_, step))
      pipeline_.send(*message, plan_, {live.input.hidden.grad(), gradient_of_sums(live.input.router_sums)});
    live.input = {};
  }

  static at::Tensor gradient_of_sums(const at::Tensor& sums) {
    return sums.defined() ? sums.grad() : at::Tensor();
  }

  PipelineSchedule& pipeline_;
  const PipelinePlan& plan_;
  const StepWork& work_;
  GradSync& grad_sync_;
  int64_t rank_;
  std::vector<double> losses_;
  std::map<Key, Live> live_;
};

std::vector<double> PipelineSchedule::forward_backward(const StepWork& work, GradSync& grad_sync) {
  return Run(*this, plan(work.num_micro_steps), work, grad_sync).run();
}

model::LayersOutput PipelineSchedule::forward(const model::ModelInput& input, model::KvCache* cache) {
  const c10::NoGradGuard no_grad;
  const PipelinePlan& p = plan(1);
  model::LayersOutput last;
  for (int64_t stage = 0; stage < p.num_stages(); ++stage) {
    if (p.rank_of(stage) != mesh_.position().pp) continue;
    const PipelineStep step{PipelineAction::kForward, 0, p.chunk_of(stage)};
    model::LayersOutput before;
    if (const auto message = p.input_of(mesh_.position().pp, step))
      before = receive(*message, p, input.position_ids.size(0));
    const model::LayersOutput output = model_.run_layers(input, before, range_of(stage, p), cache);
    if (const auto message = p.output_of(mesh_.position().pp, step)) {
      send(*message, p, output);
    } else {
      last = output;
    }
  }
  wait_for_sends();
  if (cache) cache->advance(input.cu_seqlens);
  return last;
}

}  // namespace phalanx::parallel
