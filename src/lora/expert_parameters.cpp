#include "lora/expert_parameters.h"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "core/error.h"
#include "formats/tensor_spec.h"
#include "lora/made_tensors.h"

namespace phalanx::lora {
namespace {

using core::ExitCode;
using formats::LoraPart;

const std::string kExperts = ".experts.", kLayers = "model.layers.";

/// The experts and the router of one layer.
struct ExpertLayer {
  std::string block;               // "model.layers.3.block_sparse_moe"
  std::string theirs;              // "model.layers.3.mlp": what transformers 5 calls it
  std::vector<std::string> names;  // of an expert's matrices: gate, up, down
};

bool names_parameter(const std::vector<std::string>& targets, const std::string& parameter) {
  return std::ranges::any_of(targets,
                             [&](const auto& t) { return parameter == t || parameter.ends_with("." + t); });
}

std::vector<ExpertLayer> expert_layers(const model::CausalLm& model) {
  std::vector<ExpertLayer> layers;
  for (const PeftModule& module : peft_modules(model)) {
    const size_t at = module.name.find(kExperts + "0.");
    if (at == std::string::npos) continue;
    const std::string block = module.name.substr(0, at);
    if (layers.empty() || layers.back().block != block)
      layers.push_back({block, block.substr(0, block.find('.', kLayers.size())) + ".mlp", {}});
    layers.back().names.push_back(module.name.substr(module.name.rfind('.') + 1));
  }
  return layers;
}

std::string escaped(const std::string& text) {
  std::string pattern;
  for (const char c : text) pattern += c == '.' ? std::string("\\.") : std::string(1, c);
  return pattern;
}

class Splitter {
 public:
  Splitter(const AdapterFiles& files, const model::CausalLm& model)
      : files_(files), num_experts_(model.config().num_local_experts), made_(files) {
    for (const formats::TensorInfo& info : files.weights->tensors()) left_.emplace(info.name, info);
    for (const ExpertLayer& layer : expert_layers(model)) split(layer, model);
    for (const auto& [name, info] : left_) tensors_->add(name, values(info));
  }

  AdapterFiles finish() {
    for (const std::string& target : files_.config.target_parameters)
      if (!used_.contains(target))
        core::fail(ExitCode::kBadInput,
                   "{}: target_parameters names {}, which is no parameter of experts or a router of this "
                   "model; merge "
                   "the adapter with PEFT first",
                   files_.path.string(), core::printable(target));
    std::vector<std::string> paths;
    for (const auto& [pattern, rank] : ranks_) {
      paths.push_back(pattern);
      made_.config.rank_pattern[pattern] = rank;
      made_.config.alpha_pattern[pattern] = alphas_.at(pattern);
    }
    for (const std::string& target : files_.config.target_modules)
      paths.push_back("(.*\\.)?" + escaped(target));
    if (files_.config.target_pattern) paths.push_back(*files_.config.target_pattern);
    made_.config.target_modules.clear();
    made_.config.target_pattern = fmt::format("({})", fmt::join(paths, ")|("));
    made_.weights = tensors_;
    return made_;
  }

 private:
  void split(const ExpertLayer& layer, const model::CausalLm& model) {
    const int64_t h = model.config().hidden_size, i = model.config().expert_size();
    const std::string up = layer.theirs + ".experts.gate_up_proj", down = layer.theirs + ".experts.down_proj",
                      router = layer.theirs + ".gate.weight";
    if (is_target(up)) split_experts(layer, up, {0, 1}, h, 2 * i);
    if (is_target(down)) split_experts(layer, down, {2}, i, h);
    if (is_target(router)) {
      const int64_t r = formats::rank_of(files_.config, router);
      add(layer.block + ".gate", take(layer.theirs + ".gate", {r, h}, LoraPart::kA),
          take(layer.theirs + ".gate", {num_experts_, r}, LoraPart::kB));
      note(layer, router, escaped(layer.block + ".gate"));
    }
  }

  void split_experts(const ExpertLayer& layer, const std::string& parameter, const std::vector<size_t>& parts,
                     int64_t in, int64_t out) {
    const int64_t r = formats::rank_of(files_.config, parameter), e = num_experts_;
    const std::string module = holder(layer.theirs + ".experts", {e * r, in}, {out, r * e});
    const at::Tensor a = take(module, {e * r, in}, LoraPart::kA).view({e, r, in});
    const at::Tensor b = take(module, {out, r * e}, LoraPart::kB).view({out, r, e});
    std::vector<std::string> names;
    const int64_t rows = out / std::ssize(parts);
    for (size_t part = 0; part < parts.size(); ++part) {
      names.push_back(layer.names.at(parts[part]));
      const at::Tensor here = b.narrow(0, static_cast<int64_t>(part) * rows, rows);
      for (int64_t expert = 0; expert < e; ++expert)
        add(fmt::format("{}.experts.{}.{}", layer.block, expert, names.back()), a[expert],
            here.select(2, expert));
    }
    note(layer, parameter,
         fmt::format("{}\\.experts\\.[0-9]+\\.({})", escaped(layer.block), fmt::join(names, "|")));
  }

  bool is_target(const std::string& parameter) {
    bool found = false;
    for (const std::string& target : files_.config.target_parameters) {
      if (!names_parameter({target}, parameter)) continue;
      used_.insert(target);
      found = true;
    }
    return found;
  }

  /// Of the two that PEFT wraps around the experts, one in the other, the one with these factors.
  std::string holder(const std::string& module, const std::vector<int64_t>& a,
                     const std::vector<int64_t>& b) const {
    for (const std::string& name : {module, module + ".base_layer"}) {
      const auto found_a = left_.find(formats::adapter_tensor_name(name, LoraPart::kA));
      const auto found_b = left_.find(formats::adapter_tensor_name(name, LoraPart::kB));
      if (found_a != left_.end() && found_b != left_.end() && found_a->second.shape == a &&
          found_b->second.shape == b)
        return name;
    }
    core::fail(ExitCode::kBadInput,
               "{}: has no {}.lora_A.weight {} with a lora_B.weight {}, nor under base_layer, which "
               "target_parameters "
               "asks for",
               files_.path.string(), module, formats::shape_text(a), formats::shape_text(b));
  }

  at::Tensor take(const std::string& module, const std::vector<int64_t>& shape, LoraPart part) {
    const std::string name = formats::adapter_tensor_name(module, part);
    const auto found = left_.find(name);
    if (found == left_.end() || found->second.shape != shape)
      core::fail(ExitCode::kBadInput, "{}: {} is missing or not {}, which target_parameters asks for",
                 files_.path.string(), name, formats::shape_text(shape));
    const at::Tensor tensor = values(found->second);
    left_.erase(found);
    return tensor;
  }

  at::Tensor values(const formats::TensorInfo& info) const {
    at::Tensor tensor = at::empty(info.shape, at::kFloat);
    formats::to_float(info.dtype, files_.weights->bytes(info).data(), tensor.numel(),
                      tensor.mutable_data_ptr<float>());
    files_.weights->check_unchanged();
    return tensor;
  }

  void add(const std::string& module, const at::Tensor& a, const at::Tensor& b) {
    tensors_->add(formats::adapter_tensor_name(module, LoraPart::kA), a);
    tensors_->add(formats::adapter_tensor_name(module, LoraPart::kB), b);
  }

  /// Rank and alpha of a parameter for the matrices that it holds: one pattern for all layers where they
  /// agree.
  void note(const ExpertLayer& layer, const std::string& parameter, const std::string& pattern) {
    const int64_t rank = formats::rank_of(files_.config, parameter);
    const double by = files_.config.use_rslora ? std::sqrt(double(rank)) : double(rank);
    const double alpha = formats::scale_of(files_.config, parameter) * by;
    const size_t end = escaped(layer.block.substr(0, layer.block.find('.', kLayers.size()))).size();
    const std::string any = escaped(kLayers) + "[0-9]+" + pattern.substr(end);
    const auto found = ranks_.find(any);
    const bool agrees = found == ranks_.end() || (found->second == rank && alphas_.at(any) == alpha);
    if (!agrees)
      core::fail(ExitCode::kBadInput,
                 "{}: rank or alpha of {} is not that of other layers, which is not implemented; merge the "
                 "adapter with "
                 "PEFT first",
                 files_.path.string(), parameter);
    ranks_[any] = rank;
    alphas_[any] = alpha;
  }

  const AdapterFiles& files_;
  int64_t num_experts_;
  AdapterFiles made_;
  std::map<std::string, formats::TensorInfo> left_;
  std::shared_ptr<MadeTensors> tensors_ = std::make_shared<MadeTensors>();
  std::set<std::string> used_;
  std::map<std::string, int64_t> ranks_;
  std::map<std::string, double> alphas_;
};

}  // namespace

AdapterFiles as_adapter_of_experts(const AdapterFiles& files, const model::CausalLm& model) {
  return Splitter(files, model).finish();
}

}  // namespace phalanx::lora
