#include "parallel/context_parallel.h"

#include <algorithm>

#include "parallel/ring_attention.h"
#include "parallel/ulysses_attention.h"

namespace phalanx::parallel {

ContextParallel::ContextParallel(model::CausalLm& model, const Mesh& mesh, ContextKind kind)
    : mesh_(mesh), kind_(kind) {
  if (mesh.cp().size() == 1) return;
  model.set_attention([this](const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                             const std::vector<int32_t>& cu_seqlens, const ops::AttentionOptions& options) {
    const auto attend = kind_ == ContextKind::kRing ? ring_attention : ulysses_attention;
    return attend(q, k, v, layout(cu_seqlens), options, mesh_.cp());
  });
}

const ContextLayout& ContextParallel::layout(const std::vector<int32_t>& cu_seqlens) const {
  if (last_.ranges.empty() || last_.cu_seqlens != cu_seqlens)
    last_ = make_context_layout(kind_, cu_seqlens, mesh_.cp().size());
  return last_;
}

data::Batch ContextParallel::local(const data::Batch& whole) const {
  if (mesh_.cp().size() == 1) return whole;
  data::Batch mine;
  mine.cu_seqlens = whole.cu_seqlens;
  mine.record_ids = whole.record_ids;
  mine.sample_values = whole.sample_values;
  for (const ops::RowRange& range : layout(whole.cu_seqlens).ranges[static_cast<size_t>(mesh_.cp().rank())]) {
    const auto append = [&](auto& to, const auto& from) {
      to.insert(to.end(), from.begin() + range.begin, from.begin() + range.end);
    };
    append(mine.input_ids, whole.input_ids);
    append(mine.labels, whole.labels);
    append(mine.position_ids, whole.position_ids);
    append(mine.samples, whole.samples);
    for (const auto& [name, values] : whole.row_values) append(mine.row_values[name], values);
  }
  mine.num_target_tokens = std::count_if(mine.labels.begin(), mine.labels.end(),
                                         [](int64_t label) { return label != data::kIgnoredLabel; });
  return mine;
}

}  // namespace phalanx::parallel
