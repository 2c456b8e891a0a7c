#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace phalanx::data {

inline constexpr int64_t kIgnoredLabel = -100;

/// Numbers that a training method attaches to rows or samples, by name ("old_logprobs", "advantage").
using Values = std::map<std::string, std::vector<double>>;

/// One sequence of the sampler: a packed row or a single sample, never longer than data.sequence_length. Not
/// padded.
struct Sequence {
  std::vector<int32_t> input_ids;  // [T]
  std::vector<int32_t>
      labels;  // [T] already shifted: labels[t] is the id to be predicted at t, or kIgnoredLabel
  std::vector<int32_t> position_ids;  // [T] restart at 0 in every sample
  std::vector<int32_t> lengths;       // lengths of the samples packed into it, in order; they sum to T
  std::vector<int64_t> record_ids;    // record (line) numbers that these samples came from, over all sources
  Values row_values = {};             // [T] each
  Values sample_values = {};          // one for each of `lengths`
};

/// What one forward sees: the sequences of a micro-batch joined end to end. No padding exists anywhere;
/// sample boundaries are carried in `cu_seqlens`, so a packed and an unpacked batch are the same thing to the
/// model.
struct Batch {
  std::vector<int64_t> input_ids;     // [N]
  std::vector<int64_t> labels;        // [N], kIgnoredLabel where no loss
  std::vector<int64_t> position_ids;  // [N]
  std::vector<int32_t> cu_seqlens;    // [S + 1]: sample s covers rows cu_seqlens[s] .. cu_seqlens[s+1]-1
  std::vector<int64_t> samples;       // [N] the sample that each row belongs to, 0 .. S-1
  std::vector<int64_t> record_ids;
  Values row_values, sample_values;  // [N] and [S] each
  int64_t num_target_tokens = 0;     // labels that are not ignored
};

/// All sequences must have values of the same names. @throws std::logic_error.
Batch join(const std::vector<Sequence>& sequences);

}  // namespace phalanx::data
