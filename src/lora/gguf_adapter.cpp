#include "lora/gguf_adapter.h"

#include <ATen/Functions.h>
#include <fmt/format.h>

#include <cmath>
#include <cstring>
#include <map>

#include "core/error.h"
#include "formats/gguf.h"
#include "formats/gguf_tensor.h"
#include "model/gguf_architecture.h"
#include "model/gguf_config.h"

namespace phalanx::lora {
namespace {

using Bytes = std::vector<std::byte>;

struct StoredPart {
  std::string name;
  std::vector<int64_t> shape;
  Bytes bytes;  // fp32, in the file's order
};

Bytes bytes_of(const at::Tensor& tensor) {
  const at::Tensor values = tensor.detach().cpu().to(at::kFloat).contiguous();
  const auto* first = static_cast<const std::byte*>(values.const_data_ptr());
  return {first, first + values.nbytes()};
}

/// B with its rows where the base's are.
at::Tensor in_gguf_order(const at::Tensor& b, int64_t num_heads) {
  if (num_heads == 0) return b;
  const Bytes rows = bytes_of(b);
  at::Tensor ordered = at::empty(b.sizes(), at::kFloat);
  formats::rows_to_gguf(rows, num_heads, b.size(0) / num_heads,
                        {static_cast<std::byte*>(ordered.mutable_data_ptr()), ordered.nbytes()});
  return ordered;
}

/// A and B of one tensor of the base. A tensor that holds several matrices gets their As below each other,
/// and their Bs on a diagonal, times what the engine divides by more for the larger rank.
std::vector<StoredPart> parts_of(const formats::GgufTensor& tensor,
                                 const std::map<std::string, const AdaptedLinear*>& adapted) {
  int64_t rank = 0, num_adapted = 0;
  for (const auto& part : tensor.parts)
    if (const auto found = adapted.find(part.name); found != adapted.end()) {
      rank += found->second->a.size(0);
      ++num_adapted;
    }
  if (num_adapted == 0) return {};
  if (tensor.is_stack)
    core::fail(
        core::ExitCode::kBadConfig,
        "the adapter changes experts ({}), which GGUF adapters have no place for; merge it into its base "
        "instead",
        adapted.begin()->second->module);
  std::vector<at::Tensor> as, bs;
  int64_t first = 0;
  for (const auto& part : tensor.parts) {
    at::Tensor b = at::zeros({part.shape[0], rank}, at::kFloat);
    if (const auto found = adapted.find(part.name); found != adapted.end()) {
      const AdaptedLinear& linear = *found->second;
      const int64_t own = linear.a.size(0);
      as.push_back(linear.a.detach().cpu().to(at::kFloat));
      b.narrow(1, first, own)
          .copy_(in_gguf_order(linear.b.detach().cpu().to(at::kFloat), tensor.num_heads) *
                 (static_cast<double>(rank) / static_cast<double>(own)));
      first += own;
    }
    bs.push_back(b);
  }
  const at::Tensor a = at::cat(as), b = at::cat(bs);
  return {{tensor.name + ".lora_a", a.sizes().vec(), bytes_of(a)},
          {tensor.name + ".lora_b", b.sizes().vec(), bytes_of(b)}};
}

/// Of the whole adapter.
std::vector<StoredPart> parts_of(const Adapter& adapter, const model::TransformerConfig& config) {
  std::map<std::string, const AdaptedLinear*> adapted;
  for (const AdaptedLinear& linear : adapter.modules()) adapted.emplace(linear.module + ".weight", &linear);
  std::vector<StoredPart> parts;
  for (const formats::GgufTensor& tensor : model::gguf_layout(config))
    for (StoredPart& part : parts_of(tensor, adapted)) parts.push_back(std::move(part));
  return parts;
}

double alpha_of(const AdaptedLinear& adapted) {
  return adapted.scale * static_cast<double>(adapted.a.size(0));
}

void check_plain(const Adapter& adapter) {
  const formats::AdapterConfig& config = adapter.config();
  if (!config.use_dora && config.modules_to_save.empty()) return;
  core::fail(
      core::ExitCode::kBadConfig,
      "a GGUF adapter holds low-rank factors alone, but this one has {}; merge it into its base instead",
      config.use_dora ? "DoRA's magnitudes" : "modules_to_save");
}

/// The one alpha of all modules.
float common_alpha(const Adapter& adapter) {
  const AdaptedLinear& first = adapter.modules().front();
  for (const AdaptedLinear& other : adapter.modules()) {
    if (std::abs(alpha_of(other) - alpha_of(first)) > 1e-6 * std::abs(alpha_of(first)))
      core::fail(core::ExitCode::kBadConfig,
                 "the adapter scales {} by {} / {} and {} by {} / {}, but a GGUF adapter has one alpha; "
                 "merge it into "
                 "its base instead",
                 first.module, alpha_of(first), first.a.size(0), other.module, alpha_of(other),
                 other.a.size(0));
  }
  return static_cast<float>(alpha_of(first));
}

}  // namespace

void save_gguf_adapter(const std::filesystem::path& file, const model::CausalLm& model,
                       const Adapter& adapter, formats::GgufPairs metadata) {
  const model::TransformerConfig& config = model.config();
  model::check_gguf_export(config);
  check_plain(adapter);
  metadata.text("general.architecture", model::find_family(config.model_type).gguf.value().name)
      .text("general.type", "adapter")
      .text("adapter.type", "lora")
      .f32("adapter.lora.alpha", common_alpha(adapter));
  const std::vector<StoredPart> parts = parts_of(adapter, config);
  std::vector<formats::TensorSpec> specs;
  for (const StoredPart& part : parts) specs.push_back({part.name, core::DType::kF32, part.shape});
  formats::GgufWriter writer(file, specs, metadata);
  for (const StoredPart& part : parts) writer.write(part.name, part.bytes);
  writer.finish();
}

std::string first_difference_in_gguf_adapter(const std::filesystem::path& path, const model::CausalLm& model,
                                             const Adapter& adapter) {
  const formats::GgufFile file(path);
  if (float(file.metadata().number("adapter.lora.alpha")) != common_alpha(adapter))
    return "adapter.lora.alpha differs";
  const std::vector<StoredPart> parts = parts_of(adapter, model.config());
  for (const StoredPart& part : parts) {
    const formats::TensorInfo* tensor = file.find(part.name);
    if (tensor == nullptr) return fmt::format("{} is missing", part.name);
    if (tensor->dtype != core::DType::kF32 || tensor->shape != part.shape)
      return fmt::format("{} has another type or shape", part.name);
    if (std::memcmp(file.bytes(*tensor).data(), part.bytes.data(), part.bytes.size()) != 0)
      return fmt::format("{} has other values", part.name);
  }
  return file.tensors().size() == parts.size() ? "" : "it holds further tensors";
}

}  // namespace phalanx::lora
