#pragma once
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "launch/export_job.h"

namespace phalanx::launch {

/// How the weights were written.
struct Written {
  model::WeightRows weights;    ///< before they were rounded, adapter merged in
  generate::StoredTypes types;  ///< of each tensor
  model::Importance importance = {};
};

/// Reads back what was written with a fresh loader. Collective; the ranks share tensors and prompts. No model
/// is held. In this order:
///
/// 1. Its tokenizer splits the built-in texts as the source's does.
/// 2. Every tensor is what rounding to its written type makes of the source's (adapter merged in), to the
/// bit.
/// 3. Where the file describes the model in other words than the source does, its weights give the same
///    log-probabilities under both descriptions, within 1e-3 nats.
/// 4. Against the unrounded source, adapter unmerged: log-probabilities within 1e-3 nats where rounding
/// changed
///    nothing, else mean KL and agreement within the limits of the types.
///
/// Equal bits alone would not do: they say nothing of the config that the file states, nor of the merge,
/// whose result they would compare with itself. After 2 and 3 a comparison with the rounded source is not
/// needed.
/// @return what verification.json says of it. @throws core::Error naming the first wrong tensor.
nlohmann::json verify_written(const ExportJob& job, const std::filesystem::path& path, const Written& how);

/// compare() on the built-in texts, the prompts shared out over the ranks of `group`.
generate::Comparison compare_on_texts(const generate::StreamedModel& source,
                                      const generate::StreamedModel& other, comm::Communicator& group);
std::string describe(const generate::Comparison& comparison);
nlohmann::json comparison_json(const generate::Comparison& comparison, const generate::Limits& limits);

/// @throws core::Error (kBadInput) if `made` is further from its source than its type explains.
void check_limits(const generate::Comparison& comparison, const generate::Limits& limits,
                  const std::string& made, const std::string& source);
/// @throws core::Error with `code` if the tokenizer of `other` splits the built-in texts in another way.
void check_tokenizer(const generate::StreamedModel& source, const generate::StreamedModel& other,
                     const std::string& where, core::ExitCode code);

constexpr double kMaxLogprobDifference = 1e-3;  ///< nats, where nothing was rounded

}  // namespace phalanx::launch
