#include "generate/evaluate.h"

#include <ATen/Functions.h>
#include <c10/core/GradMode.h>

#include <limits>

#include "core/error.h"
#include "ops/cross_entropy.h"

namespace phalanx::generate {
namespace {

using Sequences = std::vector<std::vector<int32_t>>;
constexpr int64_t kIgnored = -100;

void check(const std::vector<int32_t>& ids, size_t index, const model::TransformerConfig& config) {
  if (ids.empty())
    core::fail(core::ExitCode::kBadInput, "sequence {} has no tokens; it needs at least one", index);
  if (static_cast<int64_t>(ids.size()) > config.max_position_embeddings) {
    core::fail(core::ExitCode::kBadInput,
               "sequence {} has {} tokens but the model's context is {}; shorten it", index, ids.size(),
               config.max_position_embeddings);
  }
  for (const int32_t id : ids) {
    if (id < 0 || id >= config.vocab_size) {
      core::fail(core::ExitCode::kBadInput, "sequence {} has the token id {} but the vocabulary has 0 to {}",
                 index, id, config.vocab_size - 1);
    }
  }
}

// Sequences first .. last-1, joined end to end, in one forward.
void score_together(model::CausalLm& model, const Sequences& sequences, size_t first, size_t last,
                    std::vector<std::vector<double>>& out) {
  std::vector<int64_t> ids, positions, labels;
  model::ModelInput input{.input_ids = {}, .position_ids = {}, .cu_seqlens = {0}};
  for (size_t s = first; s < last; ++s) {
    for (size_t t = 0; t < sequences[s].size(); ++t) {
      ids.push_back(sequences[s][t]);
      positions.push_back(static_cast<int64_t>(t));
      labels.push_back(t + 1 < sequences[s].size() ? sequences[s][t + 1] : kIgnored);
    }
    input.cu_seqlens.push_back(static_cast<int32_t>(ids.size()));
  }
  const at::Device device = model.output_weight().device();
  input.input_ids = at::tensor(ids, at::kLong).to(device);
  input.position_ids = at::tensor(positions, at::kLong).to(device);
  const at::Tensor logprobs =
      model.head()
          .logprobs(model.hidden(input), model.output_weight(), at::tensor(labels, at::kLong).to(device), {})
          .to(at::kDouble)
          .cpu();
  const double* values = logprobs.const_data_ptr<double>();
  for (size_t s = first; s < last; ++s) {
    const size_t length = sequences[s].size();
    out[s].assign(1, std::numeric_limits<double>::quiet_NaN());
    out[s].insert(out[s].end(), values, values + length - 1);
    values += length;
  }
}

}  // namespace

std::vector<std::vector<double>> score(model::CausalLm& model, const Sequences& sequences,
                                       int64_t max_tokens) {
  const at::NoGradGuard no_grad;
  for (size_t s = 0; s < sequences.size(); ++s) check(sequences[s], s, model.config());
  std::vector<std::vector<double>> logprobs(sequences.size());
  for (size_t first = 0, last; first < sequences.size(); first = last) {
    int64_t tokens = static_cast<int64_t>(sequences[first].size());
    for (last = first + 1; last < sequences.size(); ++last) {
      tokens += static_cast<int64_t>(sequences[last].size());
      if (tokens > max_tokens) break;
    }
    score_together(model, sequences, first, last, logprobs);
  }
  return logprobs;
}

}  // namespace phalanx::generate
