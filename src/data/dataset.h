#pragma once
#include <cstdint>
#include <vector>

#include "data/batch.h"
#include "data/sampler.h"
#include "data/token_set.h"

namespace phalanx::data {

/// The sequences of a token set, by index.
class Dataset {
 public:
  /// @param weights  of the sources, in their order
  Dataset(TokenSet tokens, std::vector<double> weights)
      : tokens_(std::move(tokens)), weights_(std::move(weights)) {}

  int64_t num_sequences() const { return static_cast<int64_t>(tokens_.num_rows()); }
  /// Labels are shifted inside each sample; the last token of a sample predicts nothing. The last token of a
  /// piece of a split document predicts the first of the next piece.
  /// @throws formats::FormatError if the token set's file was changed under the mapping.
  Sequence sequence(int64_t index) const;
  /// Labels of the tokens themselves, of data of SampleKind::kStepwise.
  Sequence labelled_sequence(int64_t index) const;
  float value(int64_t index) const;  ///< RecordSamples::values
  std::vector<SourceRange> sources() const;
  const nlohmann::ordered_json& report() const { return tokens_.report(); }

 private:
  TokenSet tokens_;
  std::vector<double> weights_;
};

}  // namespace phalanx::data
