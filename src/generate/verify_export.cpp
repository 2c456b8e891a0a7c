#include "generate/verify_export.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <span>

#include "core/error.h"
#include "formats/tensor_file.h"
#include "model/load.h"
#include "model/parameter.h"

namespace phalanx::generate {
namespace {

/// log p of the whole vocabulary at every position, [N, V] fp32.
at::Tensor all_logprobs(model::CausalLm& model, const std::vector<int32_t>& ids) {
  const auto count = static_cast<int64_t>(ids.size());
  const at::Tensor input = at::tensor(std::vector<int64_t>(ids.begin(), ids.end()), at::kLong);
  const at::Tensor hidden =
      model.hidden({input, at::arange(count, at::kLong), {0, static_cast<int32_t>(count)}});
  return at::log_softmax(at::matmul(hidden, model.output_weight().t()).to(at::kFloat), -1);
}

at::Tensor round_trip(const at::Tensor& tensor, core::DType dtype, std::span<const float> importance = {}) {
  const at::Tensor source = tensor.detach().to(at::kFloat).contiguous();
  const int64_t count = source.numel();
  const int64_t blocks = core::block_elements(dtype);
  if (tensor.size(-1) % blocks != 0) {
    core::fail(core::ExitCode::kBadInput, "rows of {} elements do not fit {}, whose blocks hold {}",
               tensor.size(-1), core::name(dtype), blocks);
  }
  std::vector<std::byte> stored(static_cast<size_t>(count / blocks * core::block_bytes(dtype)));
  formats::from_float(dtype, source.const_data_ptr<float>(), count, stored.data(), importance);
  at::Tensor result = at::empty_like(source);
  formats::to_float(dtype, stored.data(), count, result.mutable_data_ptr<float>());
  return result;
}

}  // namespace

Limits limits_of(core::DType dtype) {
  switch (dtype) {
    case core::DType::kF64:
    case core::DType::kF32:
      return {1e-6, 0.99};
    case core::DType::kF16:
      return {1e-4, 0.97};
    case core::DType::kBF16:
      return {3e-3, 0.9};
    case core::DType::kQ8_0:
      return {5e-3, 0.9};
    case core::DType::kQ6_K:
      return {0.04, 0.8};
    case core::DType::kQ5_K:
    case core::DType::kQ5_1:
    case core::DType::kQ5_0:
      return {0.3, 0.65};
    case core::DType::kQ4_K:
      return {0.4, 0.6};
    default:  // Q4_1, Q4_0
      return {1.2, 0.4};
  }
}

Limits limits_of(const model::CausalLm& model, const StoredTypes& types) {
  Limits widest = limits_of(core::DType::kF32);
  for (const auto& [name, parameter] : model::all_parameters(model)) {
    const Limits own = limits_of(types(name));
    widest = {std::max(widest.mean_kl, own.mean_kl), std::min(widest.top1_agreement, own.top1_agreement)};
  }
  return widest;
}

Comparison compare(model::CausalLm& source, model::CausalLm& other,
                   const std::vector<std::vector<int32_t>>& prompts) {
  at::NoGradGuard no_grad;
  Comparison result;
  for (const std::vector<int32_t>& ids : prompts) {
    if (ids.size() < 2) continue;
    const at::Tensor mine = all_logprobs(source, ids), theirs = all_logprobs(other, ids);
    const auto count = static_cast<int64_t>(ids.size()) - 1;
    const at::Tensor next =
        at::tensor(std::vector<int64_t>(ids.begin() + 1, ids.end()), at::kLong).unsqueeze(1);
    const at::Tensor difference = (mine - theirs).narrow(0, 0, count).gather(1, next).abs();
    if (!difference.isfinite().all().item<bool>()) {
      core::fail(core::ExitCode::kBadInput,
                 "log-probabilities are not finite, so the two models cannot be compared");
    }
    result.max_difference = std::max(result.max_difference, difference.max().item<double>());
    result.mean_kl += (mine.exp() * (mine - theirs)).sum(-1).narrow(0, 0, count).sum().item<double>();
    result.top1_agreement += (mine.argmax(-1) == theirs.argmax(-1)).narrow(0, 0, count).sum().item<double>();
    result.num_tokens += count;
  }
  result.mean_kl /= static_cast<double>(std::max<int64_t>(1, result.num_tokens));
  result.top1_agreement /= static_cast<double>(std::max<int64_t>(1, result.num_tokens));
  return result;
}

model::WeightSource rounded(model::WeightSource weights, StoredTypes types, model::Importance importance) {
  return [weights = std::move(weights), types = std::move(types),
          importance = std::move(importance)](const std::string& name) {
    const auto weighed = importance.find(name);
    return round_trip(weights(name), types(name),
                      weighed == importance.end() ? std::span<const float>() : weighed->second);
  };
}

model::WeightSource rounded(model::WeightSource weights, core::DType dtype) {
  return rounded(std::move(weights), [dtype](const std::string&) { return dtype; });
}

std::string first_wrong_tensor(const StoredModel& source, const StoredModel& made) {
  const at::NoGradGuard no_grad;
  const auto source_shape = model::build(source.config), made_shape = model::build(made.config);
  std::map<std::string, at::Tensor> left;
  for (auto& [name, parameter] : model::all_parameters(*made_shape)) left.emplace(name, parameter);
  for (const auto& [name, parameter] : model::all_parameters(*source_shape)) {
    const auto found = left.extract(name);
    if (!found) return fmt::format("{} is missing", name);
    if (found.mapped().sizes() != parameter.sizes()) {
      return fmt::format("{} has shape [{}], not [{}]", name, fmt::join(found.mapped().sizes(), ", "),
                         fmt::join(parameter.sizes(), ", "));
    }
    const at::Tensor a = source.weights(name).to(at::kFloat), b = made.weights(name).to(at::kFloat);
    const auto rounding = [](const at::Tensor& weight, core::DType dtype) {
      if (dtype == core::DType::kF64) return 0.0;
      return (core::is_quantised(dtype) ? 2 : 1) *
             (round_trip(weight, dtype) - weight).abs().max().item<double>();
    };
    const double off = (a - b).abs().max().item<double>();
    const double explained = rounding(a, made.types(name)) + rounding(b, source.types(name));
    const double allowed = 1.5 * explained + 1e-6 * a.abs().max().item<double>();
    if (!(off <= allowed)) {
      return fmt::format("{} is off by {:.2e}, of which rounding explains {:.2e}", name, off, explained);
    }
  }
  return left.empty() ? "" : fmt::format("{} is in it, but not in its source", left.begin()->first);
}

std::string first_different_tensor(const model::CausalLm& a, const model::CausalLm& b) {
  const model::WeightSource ours = model::weights_of(a), theirs = model::weights_of(b);
  for (const auto& [name, parameter] : model::all_parameters(a)) {
    if (!ours(name).equal(theirs(name))) return name;
  }
  return "";
}

void assign(model::CausalLm& model, const model::WeightSource& weights) {
  at::NoGradGuard no_grad;
  for (auto& [name, parameter] : model::all_parameters(model)) parameter.copy_(weights(name));
}

const std::vector<std::string>& verification_texts() {
  static const std::vector<std::string> texts = {
      "The lighthouse keeper climbed the stairs every evening, lit the lamp, and wrote the weather into a "
      "book that nobody read.",
      "def mean(values):\n    total = 0.0\n    for value in values:\n        total += value\n    return "
      "total / len(values)\n",
      "In 1969 the crew travelled 384,400 km; 12 * 12 = 144, 7 / 2 = 3.5, and the square root of 2 is about "
      "1.41421356.",
      "Wer reist, sieht mehr. \u00c0 bient\u00f4t! \u4f60\u597d\uff0c\u4e16\u754c\u3002 "
      "\u041f\u0440\u0438\u0432\u0435\u0442. \U0001F600",
      "Question: What is a noun?\nAnswer: A word that names a person, a place, a thing or an "
      "idea.\n\nQuestion: What is a verb?\nAnswer:",
  };
  return texts;
}

}  // namespace phalanx::generate
