#include "model/weight_streaming.h"

#include <ATen/Functions.h>

#include <map>

#include "core/error.h"
#include "model/embedding.h"
#include "model/linear.h"

namespace phalanx::model {
namespace {

void drop(const at::Tensor& parameter) {
  parameter.set_data(unallocated(parameter.sizes()));
}

void stream_linear(Linear& linear, const std::string& path, const WeightRows& weights) {
  linear.set_product([path, weights, installed = linear.product()](const Linear& self, const at::Tensor& x) {
    const ResidentWeights here(self, path, weights);
    return installed ? installed(self, x) : self.base(x);
  });
}

// ids [N] -> [N, h]
at::Tensor look_up(const at::Tensor& ids, const std::string& name, const WeightRows& weights) {
  std::map<int64_t, int64_t> place_of;
  std::vector<at::Tensor> rows;
  std::vector<int64_t> places;
  const at::Tensor wanted = ids.contiguous();
  for (int64_t i = 0; i < wanted.numel(); ++i) {
    const int64_t id = wanted.const_data_ptr<int64_t>()[i];
    const auto [place, is_new] = place_of.emplace(id, static_cast<int64_t>(rows.size()));
    if (is_new) rows.push_back(weights(name, id, id + 1));
    places.push_back(place->second);
  }
  return at::cat(rows).index_select(0, at::tensor(places, at::kLong));
}

}  // namespace

ResidentWeights::ResidentWeights(const Module& module, const std::string& path, const WeightRows& weights) {
  for (const auto& [name, parameter] : module.named_parameters()) {
    if (is_allocated(parameter)) continue;
    parameter.set_data(weights(path + "." + name, 0, parameter.size(0)));
    filled_.push_back(parameter);
  }
}

ResidentWeights::~ResidentWeights() {
  for (const at::Tensor& parameter : filled_) drop(parameter);
}

void stream_weights(CausalLm& model, const WeightRows& weights) {
  for (const auto& [name, parameter] : all_parameters(model)) {
    parameter.set_requires_grad(false);
    if (parameter.dim() >= 2) {
      drop(parameter);
    } else {
      parameter.set_data(weights(name, 0, parameter.size(0)));
    }
  }
  for (const auto& [path, module] : model.named_modules()) {
    if (const auto linear = std::dynamic_pointer_cast<Linear>(module)) {
      stream_linear(*linear, path, weights);
    } else if (const auto embedding = std::dynamic_pointer_cast<Embedding>(module)) {
      embedding->set_lookup([name = path + ".weight", weights](const Embedding&, const at::Tensor& ids) {
        return look_up(ids, name, weights);
      });
    }
  }
}

std::string output_weight_name(CausalLm& model) {
  const at::Tensor output = model.output_weight();
  for (const auto& [name, parameter] : all_parameters(model)) {
    if (parameter.is_same(output)) return name;
  }
  core::fail(core::ExitCode::kBug, "the output matrix is none of the model's parameters");
}

}  // namespace phalanx::model
