#include "lora/gguf_adapter.h"

#include <fmt/format.h>

#include <cmath>
#include <cstring>

#include "core/error.h"
#include "formats/gguf.h"
#include "formats/llama_names.h"

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

/// A and B of a module as the file holds them.
std::vector<StoredPart> parts_of(const AdaptedLinear& adapted, const model::TransformerConfig& config) {
  const std::string base = formats::gguf_name_of_llama(adapted.module + ".weight").value();
  StoredPart a{base + ".lora_a", adapted.a.sizes().vec(), bytes_of(adapted.a)};
  StoredPart b{base + ".lora_b", adapted.b.sizes().vec(), bytes_of(adapted.b)};
  if (formats::rows_of_llama(base) != formats::LlamaRows::kAsTheyAre) {
    const Bytes rows = b.bytes;
    formats::rows_to_gguf(rows, adapted.b.size(0) / config.head_dim, config.head_dim, b.bytes);
  }
  return {std::move(a), std::move(b)};
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
  if (model.config().model_type != "llama")
    core::fail(core::ExitCode::kBadConfig,
               "an adapter of family {} cannot be written as GGUF yet, only of llama; use --to peft",
               model.config().model_type);
  check_plain(adapter);
  metadata.text("general.architecture", "llama")
      .text("general.type", "adapter")
      .text("adapter.type", "lora")
      .f32("adapter.lora.alpha", common_alpha(adapter));
  std::vector<StoredPart> parts;
  std::vector<formats::TensorSpec> specs;
  for (const AdaptedLinear& adapted : adapter.modules()) {
    for (StoredPart& part : parts_of(adapted, model.config())) {
      specs.push_back({part.name, core::DType::kF32, part.shape});
      parts.push_back(std::move(part));
    }
  }
  formats::GgufWriter writer(file, specs, metadata);
  for (const StoredPart& part : parts) writer.write(part.name, part.bytes);
  writer.finish();
}

std::string first_difference_in_gguf_adapter(const std::filesystem::path& path, const model::CausalLm& model,
                                             const Adapter& adapter) {
  const formats::GgufFile file(path);
  if (float(file.metadata().number("adapter.lora.alpha")) != common_alpha(adapter))
    return "adapter.lora.alpha differs";
  size_t num_parts = 0;
  for (const AdaptedLinear& adapted : adapter.modules()) {
    for (const StoredPart& part : parts_of(adapted, model.config())) {
      const formats::TensorInfo* tensor = file.find(part.name);
      if (tensor == nullptr) return fmt::format("{} is missing", part.name);
      if (tensor->dtype != core::DType::kF32 || tensor->shape != part.shape)
        return fmt::format("{} has another type or shape", part.name);
      if (std::memcmp(file.bytes(*tensor).data(), part.bytes.data(), part.bytes.size()) != 0)
        return fmt::format("{} has other values", part.name);
      ++num_parts;
    }
  }
  return file.tensors().size() == num_parts ? "" : "it holds further tensors";
}

}  // namespace phalanx::lora
