#include "lora/combine.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>

#include "core/error.h"
#include "lora/made_tensors.h"
#include "lora/targets.h"
#include "model/load.h"

namespace phalanx::lora {
namespace {

using core::ExitCode;
using formats::LoraPart;

struct Factors {
  at::Tensor a, b;  // [r, in], [out, r], fp32
};

/// What one of the adapters has of a module.
struct Share {
  Factors factors;
  double weight;  // the adapter's scale included
  size_t adapter;
};
using Shares = std::vector<Share>;

/// The nearest B A of this rank; B has the singular values.
Factors nearest(const at::Tensor& matrix, int64_t rank) {
  const auto [u, s, vh] = at::linalg_svd(matrix, /*full_matrices=*/false);
  const int64_t r = std::min(rank, s.size(0));
  return {vh.slice(0, 0, r).contiguous(), u.slice(1, 0, r) * s.slice(0, 0, r)};
}

Factors beside_each_other(const Shares& shares) {
  std::vector<at::Tensor> a, b;
  for (const Share& share : shares) {
    a.push_back(share.factors.a * share.weight);
    b.push_back(share.factors.b);
  }
  return {at::cat(a), at::cat(b, 1)};
}

/// nearest() of the exact sum without forming it: B A = Q (R_b R_a^T) Q'^T, and the matrix between is small.
Factors nearest_sum(const Shares& shares, int64_t rank) {
  const Factors exact = beside_each_other(shares);
  const auto [qb, rb] = at::linalg_qr(exact.b);
  const auto [qa, ra] = at::linalg_qr(exact.a.t());
  const Factors inner = nearest(at::mm(rb, ra.t()), rank);
  return {at::mm(inner.a, qa.t()).contiguous(), at::mm(qb, inner.b)};
}

/// Adds tensors of several adapters: plain, or pruned first, or with elected signs.
using Addition = std::function<at::Tensor(const std::vector<at::Tensor>&, std::span<const double> weights,
                                          const Shares& shares, const std::string& name)>;

/// sum_i w_i B_i A_i in the factors themselves: half of each weight to either.
Factors in_factors(const Shares& shares, const Addition& add, const std::string& module) {
  std::vector<at::Tensor> a, b;
  std::vector<double> to_a, to_b;
  for (const Share& share : shares) {
    if (share.factors.a.size(0) != shares[0].factors.a.size(0))
      core::fail(
          ExitCode::kBadConfig,
          "{} has rank {} in one adapter and {} in another; --method cat and those that end in svd take "
          "different ranks",
          module, shares[0].factors.a.size(0), share.factors.a.size(0));
    a.push_back(share.factors.a);
    b.push_back(share.factors.b);
    to_b.push_back(std::sqrt(std::abs(share.weight)));
    to_a.push_back(share.weight < 0 ? -to_b.back() : to_b.back());
  }
  return {add(a, to_a, shares, module + std::string(formats::suffix_of(LoraPart::kA))),
          add(b, to_b, shares, module + std::string(formats::suffix_of(LoraPart::kB)))};
}

/// The same with the products: of weight * scale * B A each adapter's own weight is put aside for `add`.
Factors of_products(const Shares& shares, const std::vector<WeightedAdapter>& adapters, const Addition& add,
                    int64_t rank, const std::string& module) {
  std::vector<at::Tensor> deltas;
  std::vector<double> weights;
  for (const Share& share : shares) {
    const double own = adapters[share.adapter].weight;
    deltas.push_back(at::mm(share.factors.b, share.factors.a)
                         .mul_(formats::scale_of(adapters[share.adapter].files.config, module)));
    weights.push_back(own);
  }
  return nearest(add(deltas, weights, shares, module), rank);
}

enum class Pruning { kNone, kLargest, kRandom };

struct Method {
  const char* name;
  Pruning pruning = Pruning::kNone;
  bool elects_signs = false;
  bool ends_in_svd = false;
};

constexpr Method kMethods[] = {
    {"cat"},
    {"svd", Pruning::kNone, false, true},
    {"linear"},
    {"ties", Pruning::kLargest, true},
    {"ties_svd", Pruning::kLargest, true, true},
    {"dare_linear", Pruning::kRandom},
    {"dare_linear_svd", Pruning::kRandom, false, true},
    {"dare_ties", Pruning::kRandom, true},
    {"dare_ties_svd", Pruning::kRandom, true, true},
    {"magnitude_prune", Pruning::kLargest},
    {"magnitude_prune_svd", Pruning::kLargest, false, true},
};

const Method& method_of(const CombineOptions& options) {
  for (const Method& method : kMethods)
    if (options.method == method.name) return method;
  core::fail(ExitCode::kBadConfig, "--method is {}; known are {}", core::printable(options.method, 40),
             fmt::join(combine_methods(), ", "));
}

void check(const CombineOptions& options, const Method& method) {
  const bool prunes = method.pruning != Pruning::kNone;
  if (prunes && !options.density)
    core::fail(ExitCode::kBadConfig, "--method {} needs --density, the share of elements that stay: 0.5",
               method.name);
  if (!prunes && options.density)
    core::fail(ExitCode::kBadConfig, "--density is for methods that prune, which {} does not", method.name);
  if (options.density && !(*options.density > 0 && *options.density <= 1))
    core::fail(ExitCode::kBadConfig, "--density is {} but must be > 0 and <= 1", *options.density);
  if (options.svd_rank && !method.ends_in_svd)
    core::fail(ExitCode::kBadConfig, "--svd-rank is for methods that end in an SVD, which {} does not",
               method.name);
  if (options.seed != 0 && method.pruning != Pruning::kRandom)
    core::fail(ExitCode::kBadConfig, "--seed is for dare, but the method is {}", method.name);
  if (options.majority != MajoritySign::kTotal && !method.elects_signs)
    core::fail(ExitCode::kBadConfig, "--majority-sign is for ties and dare_ties, but the method is {}",
               method.name);
  if (options.svd_rank && *options.svd_rank < 1)
    core::fail(ExitCode::kBadConfig, "--svd-rank is {} but must be at least 1", *options.svd_rank);
}

void check(const WeightedAdapter& adapter) {
  const formats::AdapterConfig& config = adapter.files.config;
  if (!config.target_parameters.empty())
    core::fail(ExitCode::kBadConfig,
               "{}: adapts parameters of experts (target_parameters), which PEFT does not combine either; "
               "merge it into "
               "the base alone",
               adapter.files.path.string());
  if (!config.use_dora && config.modules_to_save.empty()) return;
  core::fail(ExitCode::kBadConfig,
             "{}: has {}, which no weighted sum of adapters is defined for; merge it into the base alone",
             adapter.files.path.string(), config.use_dora ? "DoRA magnitudes" : "modules_to_save");
}

Addition addition_of(const Method& method, const CombineOptions& options) {
  return [method, options](const std::vector<at::Tensor>& tensors, std::span<const double> weights,
                           const Shares& shares, const std::string& name) {
    std::vector<at::Tensor> kept;
    for (size_t i = 0; i < tensors.size(); ++i) {
      switch (method.pruning) {
        case Pruning::kNone:
          kept.push_back(tensors[i]);
          break;
        case Pruning::kLargest:
          kept.push_back(largest_kept(tensors[i], *options.density));
          break;
        case Pruning::kRandom:
          kept.push_back(random_kept(tensors[i], *options.density, options.seed,
                                     fmt::format("{}.{}", shares[i].adapter, name)));
          break;
      }
    }
    return method.elects_signs ? disjoint_mean(kept, weights, options.majority) : weighted_sum(kept, weights);
  };
}

/// The factors of all adapters, module by module, in PEFT's shapes.
std::map<std::string, Shares> shares_of(const std::vector<WeightedAdapter>& adapters,
                                        const model::TransformerConfig& base) {
  std::map<std::string, Shares> shares;
  for (size_t i = 0; i < adapters.size(); ++i) {
    const auto shell = model::build(base);  // whose own weights are never read
    const Adapter adapter = load_adapter(*shell, adapters[i].files, at::kFloat, /*trainable=*/false);
    std::map<std::string, std::vector<at::Tensor>> rows;
    for (const AdaptedLinear& m : adapter.modules()) rows[m.peft_module].push_back(m.b);
    for (const AdaptedLinear& m : adapter.modules()) {
      const auto found = rows.find(m.peft_module);
      if (found == rows.end()) continue;  // a further part of a module
      shares[m.peft_module].push_back({{m.a, at::cat(found->second)}, adapters[i].weight * m.scale, i});
      rows.erase(found);
    }
  }
  return shares;
}

int64_t largest_rank(const std::map<std::string, Shares>& shares) {
  int64_t rank = 1;
  for (const auto& [module, all] : shares)
    for (const Share& share : all) rank = std::max(rank, share.factors.a.size(0));
  return rank;
}

std::string as_pattern(const std::string& module) {
  std::string pattern;
  for (const char c : module) pattern += c == '.' ? std::string("\\.") : std::string(1, c);
  return pattern;
}

formats::AdapterConfig config_of_made(const std::map<std::string, Factors>& made,
                                      const model::TransformerConfig& base) {
  const auto shell = model::build(base);
  const std::vector<PeftModule> all = peft_modules(*shell);
  std::vector<PeftModule> targets;
  for (const PeftModule& module : all)
    if (made.contains(module.name)) targets.push_back(module);
  formats::AdapterConfig config;
  config.target_modules = target_names(targets, all);
  config.fan_in_fan_out = std::ranges::any_of(targets, &PeftModule::is_transposed);
  config.r = 1;
  for (const auto& [module, factors] : made) config.r = std::max(config.r, factors.a.size(0));
  config.lora_alpha = static_cast<double>(config.r);
  for (const auto& [module, factors] : made) {
    const int64_t rank = factors.a.size(0);
    if (rank == config.r) continue;
    config.rank_pattern[as_pattern(module)] = rank;
    config.alpha_pattern[as_pattern(module)] = static_cast<double>(rank);
  }
  return config;
}

}  // namespace

const std::vector<std::string>& combine_methods() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> all;
    for (const Method& method : kMethods) all.emplace_back(method.name);
    return all;
  }();
  return names;
}

AdapterFiles combine(const std::vector<WeightedAdapter>& adapters, const model::TransformerConfig& base,
                     const CombineOptions& options) {
  const at::NoGradGuard no_grad;
  const Method& method = method_of(options);
  check(options, method);
  for (const WeightedAdapter& adapter : adapters) check(adapter);
  const std::map<std::string, Shares> all = shares_of(adapters, base);
  const int64_t rank = options.svd_rank.value_or(largest_rank(all));
  const Addition add = addition_of(method, options);
  std::map<std::string, Factors> made;
  const auto combined = [&](const std::string& module, const Shares& shares) {
    if (options.method == "cat") return beside_each_other(shares);
    if (options.method == "svd") return nearest_sum(shares, rank);
    return method.ends_in_svd ? of_products(shares, adapters, add, rank, module)
                              : in_factors(shares, add, module);
  };
  const auto tensors = std::make_shared<MadeTensors>();
  for (const auto& [module, shares] : all) {
    const Factors factors = made[module] = combined(module, shares);
    tensors->add(formats::adapter_tensor_name(module, LoraPart::kA), factors.a);
    tensors->add(formats::adapter_tensor_name(module, LoraPart::kB), factors.b);
  }
  return {"the combined adapter", config_of_made(made, base), tensors, /*has_peft_names=*/true};
}

}  // namespace phalanx::lora
