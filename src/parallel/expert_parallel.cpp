#include "parallel/expert_parallel.h"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <torch/csrc/autograd/custom_function.h>

#include <numeric>

#include "model/moe.h"

namespace phalanx::parallel {
namespace {

using comm::Communicator;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// How the rows of one layer travel. Row counts are in host memory.
struct Route : torch::CustomClassHolder {
  Communicator* ep = nullptr;          // the mesh owns it and outlives every graph
  std::vector<int64_t> sent, arrived;  // rows to and from each rank
  std::vector<int64_t> counts;         // of each expert kept here, from all ranks
  at::Tensor sorted;                   // [arrived rows] int64: expert by expert, the row as it arrived
  at::Tensor unsorted;                 // its inverse
};

std::vector<int64_t> times(std::vector<int64_t> rows, int64_t factor) {
  for (int64_t& row : rows) row *= factor;
  return rows;
}

at::Tensor exchanged(const at::Tensor& rows, const std::vector<int64_t>& to_each,
                     const std::vector<int64_t>& from_each, Communicator& ep) {
  const int64_t width = rows.size(1);
  at::Tensor arrived =
      at::empty({std::accumulate(from_each.begin(), from_each.end(), int64_t{0}), width}, rows.options());
  ep.all_to_all_async(arrived, rows.contiguous(), times(from_each, width), times(to_each, width))->wait();
  return arrived;
}

// Rows in the order of all experts -> rows of the experts kept here, in their order.
at::Tensor to_experts(const at::Tensor& rows, const Route& route) {
  return exchanged(rows, route.sent, route.arrived, *route.ep).index_select(0, route.sorted);
}

// And back; each is the transpose of the other.
at::Tensor from_experts(const at::Tensor& rows, const Route& route) {
  return exchanged(rows.index_select(0, route.unsorted), route.arrived, route.sent, *route.ep);
}

using Move = at::Tensor (*)(const at::Tensor& rows, const Route& route);

// Forward `there`, backward `back`.
template <Move there, Move back>
struct Travel : torch::autograd::Function<Travel<there, back>> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& rows,
                            const c10::intrusive_ptr<Route>& route) {
    ctx->saved_data["route"] = c10::IValue::make_capsule(route);
    return there(rows, *route);
  }
  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const auto capsule = ctx->saved_data["route"].toCapsule();
    return {back(grads[0], static_cast<const Route&>(*capsule)), at::Tensor()};
  }
};

// Where rows go that are sorted by expert, `counts` of each.
c10::intrusive_ptr<Route> plan_route(const std::vector<int64_t>& counts, int64_t num_kept, Communicator& ep,
                                     at::Device device) {
  auto route = c10::make_intrusive<Route>();
  route->ep = &ep;
  at::Tensor going = at::tensor(counts, at::kLong).to(ep.device());
  at::Tensor coming = at::empty_like(going);  // [ep, num_kept]
  const std::vector<int64_t> splits(static_cast<size_t>(ep.size()), num_kept);
  ep.all_to_all_async(coming, going, splits, splits)->wait();
  coming = coming.cpu();
  const int64_t* from = coming.const_data_ptr<int64_t>();
  std::vector<int64_t> begins;  // in the order of arrival, of each rank's rows for each kept expert
  int64_t num_arrived = 0;
  for (int64_t rank = 0; rank < ep.size(); ++rank) {
    const auto of = [&](const int64_t* numbers) {
      return std::accumulate(numbers + rank * num_kept, numbers + (rank + 1) * num_kept, int64_t{0});
    };
    route->sent.push_back(of(counts.data()));
    route->arrived.push_back(of(from));
    for (int64_t i = rank * num_kept; i < (rank + 1) * num_kept; ++i) {
      begins.push_back(num_arrived);
      num_arrived += from[i];
    }
  }
  std::vector<int64_t> sorted, unsorted(static_cast<size_t>(num_arrived));
  for (int64_t expert = 0; expert < num_kept; ++expert) {
    const size_t first = sorted.size();
    for (int64_t i = expert; i < ep.size() * num_kept; i += num_kept) {
      for (int64_t row = 0; row < from[i]; ++row) {
        sorted.push_back(begins[static_cast<size_t>(i)] + row);
        unsorted[static_cast<size_t>(sorted.back())] = static_cast<int64_t>(sorted.size()) - 1;
      }
    }
    route->counts.push_back(static_cast<int64_t>(sorted.size() - first));
  }
  route->sorted = at::tensor(sorted, at::kLong).to(device);
  route->unsorted = at::tensor(unsorted, at::kLong).to(device);
  return route;
}

// Runs all experts on `rows`, those of other ranks over there.
at::Tensor dispatch(const model::Experts& experts, const at::Tensor& rows, const std::vector<int64_t>& counts,
                    Communicator& ep) {
  const c10::intrusive_ptr<Route> route = plan_route(counts, experts.num_kept(), ep, rows.device());
  const at::Tensor arrived = Travel<to_experts, from_experts>::apply(rows, route);
  return Travel<from_experts, to_experts>::apply(experts.base(arrived, route->counts), route);
}

}  // namespace

std::vector<std::string> why_no_expert_parallel(const model::TransformerConfig& config,
                                                const MeshShape& shape) {
  if (shape.ep == 1) return {};
  if (config.num_local_experts == 0) {
    return {
        fmt::format("parallel.ep is {} but {} has no experts; leave it out", shape.ep, config.model_type)};
  }
  const int64_t experts = config.num_local_experts, ranks = shape.dp_shard * shape.cp;
  if (experts % shape.ep == 0 && ranks % shape.ep == 0) return {};
  std::vector<int64_t> choices;
  for (int64_t ep = 1; ep <= std::min(experts, ranks); ++ep) {
    if (experts % ep == 0 && ranks % ep == 0) choices.push_back(ep);
  }
  return {
      fmt::format("parallel.ep is {} but must divide num_local_experts = {} and the {} ranks of dp (of "
                  "one replica) x cp; try {}",
                  shape.ep, experts, ranks, fmt::join(choices, ", "))};
}

void apply_expert_parallel(model::CausalLm& model, const Mesh& mesh, Traits& traits) {
  Communicator& ep = mesh.ep();
  if (ep.size() == 1) return;
  for (const auto& [path, module] : model.named_modules()) {
    auto* experts = dynamic_cast<model::Experts*>(module.get());
    if (!experts) continue;
    const int64_t kept = experts->num_experts() / ep.size();
    experts->keep(ep.rank() * kept, kept);
    experts->set_dispatch(
        [&ep](const model::Experts& self, const at::Tensor& rows, const std::vector<int64_t>& counts) {
          return dispatch(self, rows, counts, ep);
        });
    for (const auto& [name, parameter] : experts->named_parameters())
      traits[path + "." + name].is_expert = true;
  }
}

}  // namespace phalanx::parallel
