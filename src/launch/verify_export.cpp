#include "launch/verify_export.h"

#include <cstdio>
#include <functional>
#include <limits>

#include "core/error.h"
#include "launch/export_check.h"
#include "launch/loaded_model.h"
#include "launch/ranks.h"
#include "model/gguf_weights.h"

namespace phalanx::launch {
namespace {

/// The type that the model's files hold each tensor in.
generate::StoredTypes types_of(const generate::StreamedModel& streamed) {
  const model::ModelFiles& files = streamed.source().files;
  return [weights = files.shared_weights(), common = files.dtype()](const std::string& name) {
    const formats::TensorInfo* tensor = weights->find(name);
    return tensor != nullptr ? tensor->dtype : common;
  };
}

/// The ranks share out the tensors; all of them say the same of the first wrong one.
void check_tensors(const generate::StoredModel& source, const generate::StoredModel& made,
                   comm::Communicator& group, const std::function<void(const std::string& wrong)>& refuse) {
  const auto mine =
      generate::first_wrong_tensor(source, made, [&](int64_t i) { return i % group.size() == group.rank(); });
  constexpr int64_t kNone = std::numeric_limits<int64_t>::max();
  const int64_t first = group.all_reduce_scalar(mine ? mine->index : kNone, comm::ReduceOp::kMin);
  if (first == kNone) return;
  refuse(generate::first_wrong_tensor(source, made, [&](int64_t i) { return i == first; })->what);
}

void verify(const std::string& a, const std::string& b, const core::Config& config,
            comm::Communicator& group) {
  const generate::StreamedModel source(open_model(a, config)), other(open_model(b, config));
  check_tokenizer(source, other, b, core::ExitCode::kBadInput);
  const bool in_gguf = source.source().files.is_gguf() || other.source().files.is_gguf();
  const auto weights_in = [in_gguf](const generate::StreamedModel& streamed) {
    return in_gguf ? model::gguf_weights(streamed.model(), streamed.rows()) : streamed.rows();
  };
  check_tensors({source.config(), weights_in(source), types_of(source)},
                {other.config(), weights_in(other), types_of(other)}, group, [&](const std::string& wrong) {
                  core::fail(core::ExitCode::kBadInput, "{}: is not {} in {}: {}", b, a,
                             core::name(other.source().files.dtype()), wrong);
                });
  const generate::Comparison comparison = compare_on_texts(source, other, group);
  if (group.rank() == 0)
    std::printf("%s against %s: every tensor is what rounding makes of its source; %s\n", a.c_str(),
                b.c_str(), describe(comparison).c_str());
  check_limits(comparison, generate::limits_of(other.model(), types_of(other)), b, a);
}

}  // namespace

int run_verify_export(const std::string& a, const std::string& b, const std::vector<std::string>& sets) {
  const core::Config config = core::Config::defaults(sets);
  return on_any_ranks(config, [&](comm::Communicator& group) {
    verify(a, b, config, group);
    return 0;
  });
}

}  // namespace phalanx::launch
