#include "parallel/tensor_parallel.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <utility>

#include "core/error.h"
#include "model/embedding.h"
#include "model/linear.h"
#include "model/moe.h"
#include "model/norm.h"
#include "ops/linear.h"
#include "parallel/collective_ops.h"
#include "parallel/module_pattern.h"
#include "parallel/vocab_parallel.h"

namespace phalanx::parallel {
namespace {

using model::Linear;

// Elements [begin, end) of a dimension.
struct Span {
  int64_t begin, end;
  int64_t size() const { return end - begin; }
};

Span even_span(int64_t total, int64_t parts, int64_t index) {
  return {total * index / parts, total * (index + 1) / parts};
}

// How heads go to ranks.
struct HeadCut {
  Span query, key;  // heads
  int64_t copies;   // ranks that hold the same key heads
};

HeadCut head_cut(const model::TransformerConfig& c, int64_t tp, int64_t rank) {
  const int64_t heads = c.num_attention_heads, keys = c.num_key_value_heads, group = heads / keys;
  if (tp <= keys) {
    const Span key = even_span(keys, tp, rank);
    return {{key.begin * group, key.end * group}, key, 1};
  }
  const int64_t key = rank * keys / tp;
  return {even_span(heads, tp, rank), {key, key + 1}, tp / keys};
}

/// One rank's work on one model.
class Cutter {
 public:
  Cutter(model::CausalLm& model, const Mesh& mesh, const TensorParallelOptions& options, Traits& traits,
         std::vector<std::unique_ptr<comm::Communicator>>& groups)
      : model_(model),
        config_(model.config()),
        tp_(mesh.tp()),
        options_(options),
        traits_(traits),
        heads_(head_cut(config_, tp_.size(), tp_.rank())),
        num_rows_(std::make_shared<int64_t>(0)) {
    if (heads_.copies > 1) {
      groups.push_back(tp_.split(static_cast<int>(heads_.key.begin), tp_.rank()));
      key_copies_ = groups.back().get();
    }
  }

  void run() {
    const auto plan = model::find_family(config_.model_type).sharding_plan;
    for (const auto& [path, module] : model_.named_modules()) {
      for (const model::ShardRule& rule : plan) {
        if (matches(rule.pattern, path)) apply(rule, path, *module);
      }
    }
    for (const auto& [name, parameter] : model_.named_parameters()) {
      if (!parts().contains(name)) traits_[name].is_copy |= tp_.rank() > 0;
    }
    for (const auto& [name, part] : parts()) traits_[name].part = part;
    model_.set_forward_observer(
        [rows = num_rows_](const model::ModelInput& input) { *rows = input.position_ids.size(0); });
    if (config_.num_labels == 0 && model_.output_weight().size(0) < config_.vocab_size) cut_head();
  }

 private:
  static constexpr const char* kMagnitude = "lora_magnitude_vector";

  model::NamedParts parts() const { return model_.named_parts(); }

  void apply(const model::ShardRule& rule, const std::string& path, model::Module& module) {
    switch (rule.shard) {
      case model::Shard::kVocab:
        return cut_vocabulary(module);
      case model::Shard::kColumn:
        return cut_columns(path, dynamic_cast<Linear&>(module), rule.unit);
      case model::Shard::kRow:
        cut_rows(path, dynamic_cast<Linear&>(module), rule.unit);
        return add_rows(path, dynamic_cast<Linear&>(module));
      case model::Shard::kRowPart:
        return cut_rows(path, dynamic_cast<Linear&>(module), rule.unit);
      case model::Shard::kEnter:
        return enter(path, dynamic_cast<model::Norm&>(module));
      case model::Shard::kStream:
        return sees_own_rows(path, module);
      case model::Shard::kLeave:
        return leave(module);
      case model::Shard::kHeads:
      case model::Shard::kShared:
        return share(path, module);
      case model::Shard::kAllHeads:  // refused by why_no_tensor_parallel()
      case model::Shard::kExpert:
        return;
    }
  }

  // Forward g: from parts of a sum back to the residual stream.
  static at::Tensor out_of(const at::Tensor& x, bool sequence_parallel, comm::Communicator& tp) {
    return sequence_parallel ? sum_and_scatter_rows(x, tp) : sum_over_group(x, tp);
  }

  // Forward f: from the residual stream into layers that are cut.
  void enter(const std::string& path, model::Norm& norm) {
    norm.set_entry(
        [rows = num_rows_, &tp = tp_, sequence_parallel = options_.sequence_parallel](const at::Tensor& x) {
          return sequence_parallel ? gather_rows(x, *rows, tp) : copy_to_group(x, tp);
        });
    sees_own_rows(path, norm);
  }

  // A norm on the residual stream, which sequence parallelism spreads by rows.
  void sees_own_rows(const std::string& path, const model::Module& norm) {
    if (options_.sequence_parallel) share(path, norm);
  }

  // Forward g behind a mixture of experts. Statistics of its router are whole on every rank.
  void leave(model::Module& module) {
    auto* moe = dynamic_cast<model::SparseMoe*>(&module);
    if (!moe) return;  // a layer without experts, whose matrices have rules of their own
    moe->set_exit([&tp = tp_, sequence_parallel = options_.sequence_parallel](
                      const model::FeedForward::Output& out) -> model::FeedForward::Output {
      return {.update = out_of(out.update, sequence_parallel, tp),
              .router_sums =
                  out.router_sums.defined() ? count_once_in_group(out.router_sums, tp) : out.router_sums};
    });
  }

  void share(const std::string& path, const model::Module& module) {
    for (const auto& [name, parameter] : module.named_parameters())
      traits_[path + "." + name].partial_over = &tp_;
  }

  Span span_of(int64_t features, model::ShardUnit unit) const {
    if (unit == model::ShardUnit::kFeature) return even_span(features, tp_.size(), tp_.rank());
    const int64_t d = config_.head_dim;
    const Span heads = features == config_.num_attention_heads * d ? heads_.query : heads_.key;
    return {heads.begin * d, heads.end * d};
  }

  void cut_columns(const std::string& path, Linear& linear, model::ShardUnit unit) {
    const int64_t out = linear.weight.size(0), in = linear.weight.size(1);
    const Span span = span_of(out, unit);
    const bool is_copied = unit == model::ShardUnit::kHead && key_copies_ &&
                           out != config_.num_attention_heads * config_.head_dim;
    std::vector<std::string> cut = {path + ".weight"};
    linear.cut_parameter("weight", {span.begin, 0}, {span.size(), in});
    if (linear.bias.defined()) {
      linear.cut_parameter("bias", {span.begin}, {span.size()});
      cut.push_back(path + ".bias");
    }
    for (const auto& [name, child] : linear.named_modules()) {
      if (name == "lora_B") {
        const int64_t r = child->parameter("weight").size(1);
        child->cut_parameter("weight", {span.begin, 0}, {span.size(), r});
        cut.push_back(path + ".lora_B.weight");
      }
      if (name == "lora_A") traits_[path + ".lora_A.weight"].partial_over = &tp_;
    }
    if (has_magnitude(linear)) {
      linear.cut_parameter(kMagnitude, {span.begin}, {span.size()});
      cut.push_back(path + "." + kMagnitude);
    }
    if (!is_copied) return;
    for (const std::string& name : cut) {
      traits_[name].partial_over = key_copies_;
      traits_[name].is_copy |= key_copies_->rank() > 0;
    }
  }

  void cut_rows(const std::string& path, Linear& linear, model::ShardUnit unit) {
    const int64_t out = linear.weight.size(0), in = linear.weight.size(1);
    const Span span = span_of(in, unit);
    linear.cut_parameter("weight", {0, span.begin}, {out, span.size()});
    for (const auto& [name, child] : linear.named_modules()) {
      if (name == "lora_A") {
        const int64_t r = child->parameter("weight").size(0);
        child->cut_parameter("weight", {0, span.begin}, {r, span.size()});
      }
      if (name == "lora_B") traits_[path + ".lora_B.weight"].partial_over = &tp_;
    }
    if (!has_magnitude(linear)) return;
    traits_[path + "." + kMagnitude].partial_over = &tp_;
    linear.set_input_sum([&tp = tp_](const at::Tensor& part) {
      at::Tensor sum = part.clone();
      tp.all_reduce(sum);
      return sum;
    });
  }

  // DoRA's, one number for each output.
  static bool has_magnitude(const Linear& linear) {
    const model::NamedTensors parameters = linear.named_parameters();
    return std::ranges::any_of(parameters, [](const auto& item) { return item.first == kMagnitude; });
  }

  // Behind cut_rows(): the sum of the ranks' parts.
  void add_rows(const std::string& path, Linear& linear) {
    const at::Tensor bias = std::exchange(linear.bias, at::Tensor());  // added once, to the sum
    if (bias.defined() && options_.sequence_parallel) traits_[path + ".bias"].partial_over = &tp_;
    linear.set_product(
        [inner = linear.product(), bias, &tp = tp_, sequence_parallel = options_.sequence_parallel](
            const Linear& self, const at::Tensor& x) {
          const at::Tensor sum = out_of(inner ? inner(self, x) : self.base(x), sequence_parallel, tp);
          return bias.defined() ? ops::add_bias(sum, bias) : sum;
        });
  }

  void cut_vocabulary(model::Module& module) {
    const at::Tensor weight = module.parameter("weight");
    const Span span = even_span(weight.size(0), tp_.size(), tp_.rank());
    module.cut_parameter("weight", {span.begin, 0}, {span.size(), weight.size(1)});
    auto* embedding = dynamic_cast<model::Embedding*>(&module);
    if (!embedding) return;
    embedding->set_lookup([&tp = tp_, span, sequence_parallel = options_.sequence_parallel](
                              const model::Embedding& self, const at::Tensor& ids) {
      return out_of(vocab_parallel_lookup(self, ids, span.begin, span.end), sequence_parallel, tp);
    });
  }

  void cut_head() {
    const Span span = even_span(config_.vocab_size, tp_.size(), tp_.rank());
    model_.set_head(std::make_shared<VocabParallelHead>(span.begin, config_.vocab_size,
                                                        config_.final_logit_softcapping, tp_));
  }

  model::CausalLm& model_;
  const model::TransformerConfig& config_;
  comm::Communicator& tp_;
  TensorParallelOptions options_;
  Traits& traits_;
  HeadCut heads_;
  std::shared_ptr<int64_t> num_rows_;  // of the forward under way
  comm::Communicator* key_copies_ = nullptr;
};

std::vector<int64_t> divisors_up_to(int64_t limit, const std::function<bool(int64_t)>& fits) {
  std::vector<int64_t> choices;
  for (int64_t tp = 1; tp <= limit; ++tp) {
    if (fits(tp)) choices.push_back(tp);
  }
  return choices;
}

}  // namespace

std::vector<std::string> why_no_tensor_parallel(const model::TransformerConfig& c, int64_t tp,
                                                bool allow_uneven) {
  if (tp == 1) return {};
  const auto& plan = model::find_family(c.model_type).sharding_plan;
  const bool joins_heads = std::any_of(plan.begin(), plan.end(), [](const model::ShardRule& rule) {
    return rule.shard == model::Shard::kAllHeads;
  });
  if (joins_heads) {
    return {
        fmt::format("parallel.tp is {} but must be 1 for {}, which normalises queries and keys over all "
                    "heads at once; use "
                    "parallel.dp, zero, pp or cp",
                    tp, c.model_type)};
  }
  const int64_t heads = c.num_attention_heads, keys = c.num_key_value_heads;
  const auto heads_fit = [&](int64_t n) {
    if (n > keys) return heads % n == 0 && n % keys == 0;
    return allow_uneven || keys % n == 0;
  };
  std::vector<std::string> reasons;
  if (!heads_fit(tp)) {
    reasons.push_back(
        fmt::format("parallel.tp is {} but must divide num_attention_heads = {} and divide or be a multiple "
                    "of num_key_value_heads "
                    "= {}; try {}{}",
                    tp, heads, keys, fmt::join(divisors_up_to(heads, heads_fit), ", "),
                    allow_uneven ? "" : ", or parallel.allow_uneven: true"));
  }
  if (!allow_uneven && c.intermediate_size % tp != 0) {
    reasons.push_back(fmt::format(
        "parallel.tp is {} but must divide intermediate_size = {}; try {}, or parallel.allow_uneven: true",
        tp, c.intermediate_size,
        fmt::join(divisors_up_to(heads, [&](int64_t n) { return c.intermediate_size % n == 0; }), ", ")));
  }
  return reasons;
}

void apply_tensor_parallel(model::CausalLm& model, const Mesh& mesh, const TensorParallelOptions& options,
                           Traits& traits, std::vector<std::unique_ptr<comm::Communicator>>& groups) {
  if (mesh.tp().size() == 1) return;
  Cutter(model, mesh, options, traits, groups).run();
}

}  // namespace phalanx::parallel
