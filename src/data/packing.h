#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

namespace phalanx::data {

/// A run of tokens of one sample: [begin, begin + length) of the token array. Whole samples, but for split
/// documents.
struct Segment {
  uint64_t begin = 0;
  uint32_t length = 0;
  uint32_t source = 0;    ///< index into data.train
  int64_t record_id = 0;  ///< number of the record over all sources, from 0
  uint32_t answer = 0;    ///< of a record with several samples: which of them
  float value = 0;        ///< RecordSamples::values
};

/// Rows of segments, each row at most `capacity` tokens: row r is order[row_begin[r]] .. order[row_begin[r +
/// 1]] - 1.
struct Packing {
  std::vector<Segment> segments;    // in row order
  std::vector<uint64_t> row_begin;  // [rows + 1]
};

/// One sample per row.
Packing pack_single(const std::vector<Segment>& samples);

/// One record per row: the samples of a record stay together.
Packing pack_records(const std::vector<Segment>& samples);

/// Samples cut into pieces of at most `capacity` tokens, in order.
std::vector<Segment> split_samples(const std::vector<Segment>& samples, uint32_t capacity);

/// Best-fit decreasing, by windows of `window` samples so that rows mix near neighbours only and memory is
/// bounded: the longest sample first, into the fullest row that still has room. Deterministic; every token
/// lands in exactly one row.
/// @param samples  none longer than `capacity`.
Packing pack_best_fit(const std::vector<Segment>& samples, uint32_t capacity, size_t window = 20000);

/// Documents one after the other, cut wherever a row is full: every row but the last is full. For
/// pretraining.
Packing pack_split(const std::vector<Segment>& documents, uint32_t capacity);

}  // namespace phalanx::data
