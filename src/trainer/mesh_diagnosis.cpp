#include "trainer/mesh_diagnosis.h"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

namespace phalanx::trainer {
namespace {

constexpr double kSlack = 4;

// The factor f with the least |a - f b|, and what is left of it relative to |b|.
struct Projection {
  double factor, rest;
};
Projection project(const at::Tensor& a, const at::Tensor& b) {
  const at::Tensor x = a.to(at::kDouble).flatten(), y = b.to(at::kDouble).flatten();
  const double square = std::max(y.dot(y).item<double>(), 1e-300), factor = x.dot(y).item<double>() / square;
  return {factor, (x - y * factor).norm().item<double>() / std::sqrt(square)};
}

bool is_off(double a, double b, double limit) {
  return !(std::abs(a - b) <= limit * std::abs(b));
}

// One factor for most of the wrong gradients (a tied weight's may be a mixture), or 0.
double common_factor(const MeshRun& run, const MeshRun& reference, const std::vector<std::string>& wrong,
                     double limit) {
  const double tolerance = std::max(10 * limit, 1e-9);
  double common = 0;
  size_t num_multiples = 0;
  for (const std::string& name : wrong) {
    const Projection p = project(run.gradients[0].at(name), reference.gradients[0].at(name));
    if (p.rest > tolerance * std::max(1.0, std::abs(p.factor))) continue;
    if (common != 0 && is_off(p.factor, common, tolerance)) return 0;
    common = p.factor;
    ++num_multiples;
  }
  return 2 * num_multiples > wrong.size() ? common : 0;
}

std::string kind_of_first_step(const MeshRun& run, const MeshRun& reference,
                               const std::vector<std::string>& wrong, const MeshBound& bound) {
  const double factor = common_factor(run, reference, wrong, bound.gradient);
  const double whole = std::round(factor);
  if (factor > 1.5 && !is_off(factor, whole, 1e-3)) return fmt::format("counted {:.0f} times", whole);
  if (factor != 0) return fmt::format("wrong divisor (gradients times {:.4g})", factor);
  if (is_off(run.losses[0], reference.losses[0], bound.loss))
    return "wrong forward: blocks in the wrong order, or a sum that lacks addends";
  return "missing reduction";
}

}  // namespace

MeshBound rounding_bound(const MeshRun& reference, const MeshRun& exact, at::ScalarType compute) {
  if (compute == at::kDouble) return {1e-13, 1e-12};
  const double unit = compute == at::kFloat ? 0x1p-24 : 0x1p-8;  // a few roundings are always allowed
  const MeshDifference own = difference(reference, exact);
  return {kSlack * std::max(own.loss, unit), kSlack * std::max(own.gradient, unit)};
}

MeshDiagnosis diagnose(const MeshRun& run, const MeshRun& reference, const MeshBound& bound) {
  for (const std::string& name : reference.order) {
    const double apart = relative_distance(run.initial_weights.at(name), reference.initial_weights.at(name));
    if (apart > 0) return {name, 0, apart, "wrong slice"};
  }
  for (size_t step = 0; step < reference.losses.size(); ++step) {
    std::vector<std::string> wrong;
    for (const std::string& name : reference.order) {
      const double apart = gradient_distance(run, reference, step, name);
      // Later steps start from weights that differ by rounding, which a step can magnify.
      if (!(apart <= bound.gradient * (step == 0 ? 1 : 1e3))) wrong.push_back(name);
    }
    const bool is_loss_off =
        is_off(run.losses[step], reference.losses[step], bound.loss * (step == 0 ? 1 : 1e3));
    if (wrong.empty() && !is_loss_off) continue;
    const std::string name = wrong.empty() ? "the loss" : wrong.front();
    const double apart = wrong.empty() ? std::abs(run.losses[step] / reference.losses[step] - 1)
                                       : gradient_distance(run, reference, step, name);
    const std::string kind = step > 0 ? "stale parameter" : kind_of_first_step(run, reference, wrong, bound);
    return {name, static_cast<int64_t>(step) + 1, apart, kind};
  }
  for (const std::string& name : reference.order) {
    if (is_rounding_noise(run, reference, 0, name)) continue;
    const double apart = relative_distance(run.weights.at(name), reference.weights.at(name));
    if (!(apart <= bound.gradient * 1e3))
      return {name, static_cast<int64_t>(reference.losses.size()), apart, "stale parameter"};
  }
  return {};
}

std::string guilty_axes(const MeshRecipe& recipe, const MeshCase& mesh_case, at::ScalarType compute,
                        const MeshRun& reference, const MeshBound& bound, const Sabotage& sabotage) {
  const parallel::MeshShape& s = mesh_case.shape;
  struct Axis {
    std::string name;
    int64_t size;
    parallel::MeshShape alone;
  };
  const std::vector<Axis> axes = {
      {"pp", s.pp, {.pp = s.pp}},
      {"dp", s.dp_replicate * s.dp_shard, {.dp_replicate = s.dp_replicate, .dp_shard = s.dp_shard}},
      {"cp", s.cp, {.cp = s.cp}},
      {"ep", s.ep, {.dp_shard = s.ep, .ep = s.ep}},
      {"tp", s.tp, {.tp = s.tp}}};
  std::vector<std::string> used, guilty;
  for (const Axis& axis : axes) {
    if (axis.size > 1) used.push_back(axis.name);
  }
  if (used.size() == 1) return used.front();
  for (const Axis& axis : axes) {
    if (axis.size == 1) continue;
    MeshCase alone{axis.alone, mesh_case.options};
    if (axis.alone.tp == 1) alone.options.tensor.sequence_parallel = false;
    const MeshRun run =
        run_on_mesh(recipe, alone, compute, static_cast<int64_t>(reference.losses.size()), sabotage);
    if (!diagnose(run, reference, bound).tensor.empty()) guilty.push_back(axis.name);
  }
  if (guilty.empty()) return fmt::format("the combination of {}", fmt::join(used, ", "));
  return fmt::format("{}", fmt::join(guilty, " and "));
}

}  // namespace phalanx::trainer
