#include "launch/export_check.h"

#include <algorithm>
#include <map>

#include "core/error.h"
#include "core/log.h"
#include "model/parameter.h"

namespace phalanx::launch {
namespace {

namespace fs = std::filesystem;
using core::ExitCode;
using generate::Comparison;
using generate::StreamedModel;

/// The comparison over the prompts of all ranks.
Comparison joined(const Comparison& mine, comm::Communicator& group) {
  const auto count = static_cast<double>(mine.num_tokens);
  Comparison all;
  all.num_tokens = group.all_reduce_scalar(mine.num_tokens);
  all.max_difference = group.all_reduce_scalar(mine.max_difference, comm::ReduceOp::kMax);
  const auto total = static_cast<double>(std::max<int64_t>(1, all.num_tokens));
  all.mean_kl = group.all_reduce_scalar(mine.mean_kl * count) / total;
  all.top1_agreement = group.all_reduce_scalar(mine.top1_agreement * count) / total;
  all.num_decided = group.all_reduce_scalar(mine.num_decided);
  const double same = mine.decided_agreement * static_cast<double>(mine.num_decided);
  const double all_same = group.all_reduce_scalar(same);
  if (all.num_decided > 0) all.decided_agreement = all_same / static_cast<double>(all.num_decided);
  return all;
}

generate::RoundingCheck joined(const generate::RoundingCheck& mine, size_t num_tensors,
                               comm::Communicator& group) {
  const auto first = static_cast<size_t>(
      group.all_reduce_scalar(static_cast<int64_t>(mine.wrong.value_or(num_tensors)), comm::ReduceOp::kMin));
  generate::RoundingCheck all;
  if (first < num_tensors) all.wrong = first;
  all.is_exact = group.all_reduce_scalar(int64_t{mine.is_exact}, comm::ReduceOp::kMin) != 0;
  return all;
}

/// The written weights as the source's config has them used.
StreamedModel under_config_of(const StreamedModel& source, const StreamedModel& written) {
  const model::ModelFiles& files = written.source().files;
  return StreamedModel({model::ModelFiles(source.config(), files.shared_weights(), files.path()),
                        written.source().tokenizer, "", std::nullopt});
}

void check_config(const ExportJob& job, const StreamedModel& written) {
  if (written.config() == job.source.config()) return;
  const Comparison same = compare_on_texts(under_config_of(job.source, written), written, job.group);
  if (same.max_difference > kMaxLogprobDifference)
    core::fail(ExitCode::kBug,
               "{}: read back, its config makes another model of the same weights: log-probabilities differ "
               "by {:.2e} nats; the export is not usable",
               job.arguments.destination, same.max_difference);
}

generate::RoundingCheck check_tensors(const ExportJob& job, const StreamedModel& written,
                                      const Written& how) {
  const model::NamedTensors tensors = model::all_parameters(*model::build(job.source.config()));
  const auto is_mine = [&](size_t i) {
    return i % static_cast<size_t>(job.group.size()) == static_cast<size_t>(job.group.rank());
  };
  const generate::RoundingCheck mine =
      generate::check_rounding(tensors, {how.weights, how.types, how.importance}, written.rows(), is_mine);
  const generate::RoundingCheck check = joined(mine, tensors.size(), job.group);
  if (check.wrong) {
    const std::string& name = tensors[*check.wrong].first;
    core::fail(ExitCode::kBug, "{}: read back, {} is not the source's in {}; the export is not usable",
               job.arguments.destination, name, core::name(how.types(name)));
  }
  return check;
}

}  // namespace

Comparison compare_on_texts(const StreamedModel& source, const StreamedModel& other,
                            comm::Communicator& group) {
  const std::vector<std::string>& texts = generate::verification_texts();
  std::vector<std::vector<int32_t>> prompts;
  for (size_t i = static_cast<size_t>(group.rank()); i < texts.size(); i += static_cast<size_t>(group.size()))
    prompts.push_back(source.tokenizer().encode(texts[i]));
  return joined(generate::compare(source.answering(), other.answering(), prompts), group);
}

std::string describe(const Comparison& comparison) {
  return fmt::format(
      "{} tokens: max |difference of log p| {:.2e} nats, mean KL {:.2e}, same most likely token {:.1f} %",
      comparison.num_tokens, comparison.max_difference, comparison.mean_kl, 100 * comparison.top1_agreement);
}

nlohmann::json comparison_json(const Comparison& comparison, const generate::Limits& limits) {
  return {{"num_tokens", comparison.num_tokens},
          {"max_logprob_difference", comparison.max_difference},
          {"mean_kl", comparison.mean_kl},
          {"top1_agreement", comparison.top1_agreement},
          {"num_decided", comparison.num_decided},
          {"decided_agreement", comparison.decided_agreement},
          {"limits", {{"mean_kl", limits.mean_kl}, {"top1_agreement", limits.top1_agreement}}}};
}

void check_limits(const Comparison& comparison, const generate::Limits& limits, const std::string& made,
                  const std::string& source) {
  if (comparison.mean_kl <= limits.mean_kl && comparison.decided_agreement >= limits.top1_agreement) return;
  core::fail(ExitCode::kBadInput,
             "{}: is not the same model as {}: mean KL {:.2e} nats (limit {}), same most likely token {:.1f} "
             "% (limit {} %) at the {} positions where it has a tenth of the probability or more",
             made, source, comparison.mean_kl, limits.mean_kl, 100 * comparison.decided_agreement,
             100 * limits.top1_agreement, comparison.num_decided);
}

void check_tokenizer(const StreamedModel& source, const StreamedModel& other, const std::string& where,
                     ExitCode code) {
  for (const std::string& text : generate::verification_texts()) {
    if (other.tokenizer().encode(text) != source.tokenizer().encode(text))
      core::fail(code, "{}: its tokenizer splits text differently from that of its source {}", where,
                 source.source().files.path().string());
  }
}

nlohmann::json verify_written(const ExportJob& job, const fs::path& path, const Written& how) {
  const std::string& destination = job.arguments.destination;
  const StreamedModel written(generate::open_model(path));
  check_tokenizer(job.source, written, destination, ExitCode::kBug);
  const generate::RoundingCheck tensors = check_tensors(job, written, how);
  check_config(job, written);
  const Comparison comparison = compare_on_texts(job.source, written, job.group);
  if (tensors.is_exact && comparison.max_difference > kMaxLogprobDifference)
    core::fail(ExitCode::kBug,
               "{}: read back, its weights are those of the source, but log-probabilities differ by {:.2e} "
               "nats (limit {}); the export is not usable",
               destination, comparison.max_difference, kMaxLogprobDifference);
  const generate::Limits limits = generate::limits_of(written.model(), how.types);
  check_limits(comparison, limits, destination, job.arguments.source);
  if (job.is_first())
    core::log_note(
        "verified: {} read back equals its source in these types to the bit; against the unrounded source: "
        "{}",
        destination, describe(comparison));
  std::map<std::string, int64_t> counts;
  for (const auto& [name, parameter] : model::all_parameters(written.model()))
    ++counts[std::string(core::name(how.types(name)))];
  nlohmann::json result = comparison_json(comparison, limits);
  if (tensors.is_exact) result["limits"]["max_logprob_difference"] = kMaxLogprobDifference;
  result["tensor_types"] = counts;
  result["equals_rounded_source"] = true;
  result["rounding_changed_nothing"] = tensors.is_exact;
  return result;
}

}  // namespace phalanx::launch
