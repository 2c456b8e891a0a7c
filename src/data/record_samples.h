#pragma once
#include <functional>
#include <string>
#include <vector>

#include "data/example.h"
#include "data/record.h"

namespace phalanx::data {

/// What a training method learns from, and so what its records must be.
enum class SampleKind {
  kWhole,       ///< texts, pairs and conversations, each one sample
  kPreference,  ///< two samples that stay together: the chosen answer, the rejected one
  kUnpaired,    ///< single samples, each wanted or not; of a preference its two answers
  kStepwise,    ///< single samples with a label at the end of each step: Example::mask is 1 + label there
};

/// One record as tokens. The samples of a preference stand in one row of the data set, others in one each.
struct RecordSamples {
  std::vector<Example> samples;
  /// One for each: kPreference: the margin; kUnpaired: 1 for a desirable answer, else 0;
  /// kStepwise: 0.
  std::vector<float> values;
};

/// Immutable; safe to share between threads. The tokenizer must outlive it.
/// @throws core::Error (65): what is wrong with this record, without its place; (78) if records of its format
/// are not what the method learns from, or need a chat template and there is none.
using MakeSamples = std::function<RecordSamples(const Record& record)>;
MakeSamples sample_maker(SampleKind kind, const Tokenizer& tokenizer, const ExampleOptions& options);

}  // namespace phalanx::data
