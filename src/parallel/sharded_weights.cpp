#include "parallel/sharded_weights.h"

#include <ATen/ATen.h>

#include "model/embedding.h"
#include "parallel/stream_ops.h"

namespace phalanx::parallel {
namespace {

using model::Stream;

// The head reads the output matrix while it lies gathered.
class GatheringHead : public model::OutputHead {
 public:
  GatheringHead(std::shared_ptr<const OutputHead> inner, std::function<void()> gather,
                std::function<void()> drop)
      : inner_(std::move(inner)), gather_(std::move(gather)), drop_(std::move(drop)) {}

  at::Tensor cross_entropy(const at::Tensor& hidden, const at::Tensor& weight, const at::Tensor& labels,
                           double grad_scale) const override {
    return while_gathered([&] { return inner_->cross_entropy(hidden, weight, labels, grad_scale); });
  }
  at::Tensor logprobs(const at::Tensor& hidden, const at::Tensor& weight, const at::Tensor& labels,
                      const ops::LogprobOptions& options) const override {
    const at::Tensor before = on_backward(hidden, drop_);  // the backward reads the weights, too
    return on_backward(while_gathered([&] { return inner_->logprobs(before, weight, labels, options); }),
                       gather_);
  }
  at::Tensor scores(const at::Tensor& hidden, const at::Tensor& weight,
                    const at::Tensor& bias) const override {
    const at::Tensor before = on_backward(hidden, drop_);
    return on_backward(while_gathered([&] { return inner_->scores(before, weight, bias); }), gather_);
  }
  at::Tensor logits(const at::Tensor& hidden, const at::Tensor& weight) const override {
    return while_gathered([&] { return inner_->logits(hidden, weight); });
  }

 private:
  template <class Body>
  at::Tensor while_gathered(const Body& body) const {
    gather_();
    at::Tensor result = body();
    drop_();
    return result;
  }

  std::shared_ptr<const OutputHead> inner_;
  std::function<void()> gather_, drop_;
};

}  // namespace

ShardedWeights::ShardedWeights(model::CausalLm& model, std::vector<FlatParameters*> holders, const Mesh& mesh)
    : mesh_(mesh) {
  for (FlatParameters* holder : holders) {
    for (size_t b = 0; b < holder->blocks().size(); ++b) {
      const ParameterBlock& block = holder->blocks()[b];
      if (!block.is_resident) units_[block.unit].push_back({holder, b, nullptr, {}});
    }
  }
  for (const auto& [name, unit] : units_) {
    const std::string last = name.substr(name.rfind('.') + 1);
    if (last.find_first_not_of("0123456789") == std::string::npos) layers_.emplace(std::stoll(last), name);
  }
  wrap_layers(model);
  wrap_embedding(model);
  wrap_head(model);
}

void ShardedWeights::wrap_layers(model::CausalLm& model) {
  model.set_layer_runner([this, inner = model.layer_runner()](int64_t layer, const Stream& stream,
                                                              const model::LayerBody& body) {
    const std::string unit = layer_unit(layer), next = layer_unit(layer + 1),
                      previous = layer_unit(layer - 1);
    gather(unit);
    start(next);
    const Stream out = inner(layer, on_backward(stream, [this, unit] { drop(unit); }), body);
    drop(unit);
    return on_backward(out, [this, unit, previous] {
      gather(unit);
      start(previous);
    });
  });
}

void ShardedWeights::wrap_embedding(model::CausalLm& model) {
  for (const auto& [path, module] : model.named_modules()) {
    auto* embedding = dynamic_cast<model::Embedding*>(module.get());
    if (!embedding || !units_.contains(path)) continue;
    embedding->set_lookup([this, unit = path, inner = embedding->lookup()](const model::Embedding& self,
                                                                           const at::Tensor& ids) {
      gather(unit);
      at::Tensor rows = inner ? inner(self, ids) : self.base(ids, 0);
      drop(unit);
      return rows;
    });
  }
}

void ShardedWeights::wrap_head(model::CausalLm& model) {
  const at::Tensor weight = model.output_weight();
  for (const auto& [name, unit] : units_) {
    for (const Part& part : unit) {
      for (const ParameterSlot& slot : part.holder->slots()) {
        if (slot.block != part.block || !slot.param.is_same(weight)) continue;
        model.set_head(std::make_shared<GatheringHead>(
            model.shared_head(), [this, unit = name] { gather(unit); }, [this, unit = name] { drop(unit); }));
        return;
      }
    }
  }
}

std::string ShardedWeights::layer_unit(int64_t layer) const {
  const auto found = layers_.find(layer);
  return found == layers_.end() ? std::string() : found->second;
}

void ShardedWeights::start(const std::string& name) {
  const auto unit = units_.find(name);
  if (unit == units_.end()) return;
  for (Part& part : unit->second) {
    if (part.holder->is_materialised(part.block)) continue;
    part.holder->materialise(part.block);
    part.owned = part.holder->owned_compute(part.block);
    comm::Communicator& shard = mesh_.holders(part.holder->blocks()[part.block].is_expert).shard;
    part.work = shard.all_gather_async(part.holder->compute(part.block), part.owned);
  }
}

void ShardedWeights::gather(const std::string& name) {
  start(name);
  const auto unit = units_.find(name);
  if (unit == units_.end()) return;
  for (Part& part : unit->second) {
    if (part.work) part.work->wait();
    part.work.reset();
  }
}

void ShardedWeights::drop(const std::string& name) {
  const auto unit = units_.find(name);
  if (unit == units_.end()) return;
  for (Part& part : unit->second) {
    if (part.work) part.work->wait();
    part.work.reset();
    part.holder->drop(part.block);
  }
}

void ShardedWeights::drop_all() {
  for (const auto& [name, unit] : units_) drop(name);
}

int64_t ShardedWeights::num_materialised() const {
  int64_t count = 0;
  for (const auto& [name, unit] : units_) {
    for (const Part& part : unit) count += part.holder->is_materialised(part.block);
  }
  return count;
}

}  // namespace phalanx::parallel
