#include "generate/verify_export.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <fmt/ranges.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <span>

#include "core/error.h"
#include "formats/tensor_file.h"
#include "model/load.h"
#include "model/parameter.h"

namespace phalanx::generate {
namespace {

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

bool has_same_bits(const at::Tensor& a, const at::Tensor& b) {
  return a.nbytes() == b.nbytes() && std::memcmp(a.const_data_ptr(), b.const_data_ptr(), a.nbytes()) == 0;
}

void for_each_piece(const at::Tensor& shape, const std::function<void(int64_t, int64_t)>& body) {
  model::for_each_piece(shape.size(0), shape.numel() / std::max<int64_t>(1, shape.size(0)), body);
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

RoundingCheck check_rounding(const model::NamedTensors& tensors, const Rounding& source,
                             const model::WeightRows& made, const std::function<bool(size_t)>& is_mine) {
  const at::NoGradGuard no_grad;
  RoundingCheck check;
  for (size_t i = 0; i < tensors.size() && !check.wrong; ++i) {
    if (!is_mine(i)) continue;
    const auto& [name, shape] = tensors[i];
    const auto weighed = source.importance.find(name);
    const std::span<const float> importance =
        weighed == source.importance.end() ? std::span<const float>() : weighed->second;
    for_each_piece(shape, [&, &name = name](int64_t begin, int64_t end) {
      const at::Tensor weight = source.weights(name, begin, end);
      const at::Tensor expected = round_trip(weight, source.types(name), importance);
      if (!has_same_bits(expected, made(name, begin, end))) check.wrong = i;
      check.is_exact = check.is_exact && has_same_bits(expected, weight);
    });
  }
  return check;
}

namespace {

// What rounding to the type takes an element off at most.
double rounding_of(const at::Tensor& weight, core::DType dtype) {
  if (dtype == core::DType::kF64) return 0.0;
  return (core::is_quantised(dtype) ? 2 : 1) *
         (round_trip(weight, dtype) - weight).abs().max().item<double>();
}

// Empty, or what is wrong with this tensor.
std::string difference(const std::string& name, const at::Tensor& shape, const StoredModel& source,
                       const StoredModel& made) {
  double off = 0, by_made = 0, by_source = 0, largest = 0;
  for_each_piece(shape, [&](int64_t begin, int64_t end) {
    const at::Tensor a = source.weights(name, begin, end), b = made.weights(name, begin, end);
    const double here = (a - b).abs().max().item<double>();
    off = here <= off ? off : here;  // NaN stays
    by_made = std::max(by_made, rounding_of(a, made.types(name)));
    by_source = std::max(by_source, rounding_of(b, source.types(name)));
    largest = std::max(largest, a.abs().max().item<double>());
  });
  const double explained = by_made + by_source;
  if (off <= 1.5 * explained + 1e-6 * largest) return "";
  return fmt::format("{} is off by {:.2e}, of which rounding explains {:.2e}", name, off, explained);
}

}  // namespace

std::optional<WrongTensor> first_wrong_tensor(const StoredModel& source, const StoredModel& made,
                                              const std::function<bool(int64_t index)>& is_looked_at) {
  const at::NoGradGuard no_grad;
  const auto source_shape = model::build(source.config), made_shape = model::build(made.config);
  std::map<std::string, at::Tensor> left;
  for (auto& [name, parameter] : model::all_parameters(*made_shape)) left.emplace(name, parameter);
  int64_t index = 0;
  for (const auto& [name, parameter] : model::all_parameters(*source_shape)) {
    const int64_t here = index++;
    const auto found = left.extract(name);
    if (!is_looked_at(here)) continue;
    if (!found) return WrongTensor{here, fmt::format("{} is missing", name)};
    if (found.mapped().sizes() != parameter.sizes()) {
      return WrongTensor{
          here, fmt::format("{} has shape [{}], not [{}]", name, fmt::join(found.mapped().sizes(), ", "),
                            fmt::join(parameter.sizes(), ", "))};
    }
    std::string wrong = difference(name, parameter, source, made);
    if (!wrong.empty()) return WrongTensor{here, std::move(wrong)};
  }
  if (left.empty() || !is_looked_at(index)) return std::nullopt;
  return WrongTensor{index, fmt::format("{} is in it, but not in its source", left.begin()->first)};
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
