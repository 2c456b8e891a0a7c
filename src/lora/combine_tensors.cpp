#include "lora/combine_tensors.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include "core/random.h"

namespace phalanx::lora {
namespace {

at::Tensor scaled_stack(const std::vector<at::Tensor>& tensors, std::span<const double> weights) {
  std::vector<at::Tensor> scaled;
  for (size_t i = 0; i < tensors.size(); ++i) scaled.push_back(tensors[i] * weights[i]);
  return at::stack(scaled);
}

}  // namespace

at::Tensor weighted_sum(const std::vector<at::Tensor>& tensors, std::span<const double> weights) {
  at::Tensor sum = tensors[0] * weights[0];
  for (size_t i = 1; i < tensors.size(); ++i) sum.add_(tensors[i], weights[i]);
  return sum;
}

at::Tensor largest_kept(const at::Tensor& tensor, double density) {
  if (density >= 1) return tensor;
  const at::Tensor flat = tensor.reshape(-1);
  const auto kept = static_cast<int64_t>(density * static_cast<double>(flat.numel()));
  const at::Tensor places = std::get<1>(flat.abs().topk(kept));
  return at::zeros_like(flat).index_copy_(0, places, flat.index_select(0, places)).view_as(tensor);
}

at::Tensor random_kept(const at::Tensor& tensor, double density, uint64_t seed, const std::string& name) {
  if (density >= 1) return tensor;
  at::Tensor kept = tensor.contiguous().clone();
  auto* values = kept.mutable_data_ptr<float>();
  const uint64_t stream = core::substream(core::stream_id("dare"), core::stream_id(name));
  at::parallel_for(0, kept.numel(), 1 << 14, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const bool stays = core::random_uniform(seed, stream, static_cast<uint64_t>(i)) < density;
      values[i] = stays ? static_cast<float>(values[i] / density) : 0.0F;
    }
  });
  return kept;
}

at::Tensor disjoint_mean(const std::vector<at::Tensor>& tensors, std::span<const double> weights,
                         MajoritySign majority) {
  const at::Tensor all = at::stack(tensors), signs = all.sign();
  const at::Tensor votes = (majority == MajoritySign::kTotal ? all : signs).sum(0);
  const at::Tensor elected = at::where(votes >= 0, at::ones_like(votes), -at::ones_like(votes));
  const at::Tensor agrees = signs == elected;
  return (scaled_stack(tensors, weights) * agrees).sum(0) / agrees.sum(0).clamp_min(1);
}

}  // namespace phalanx::lora
