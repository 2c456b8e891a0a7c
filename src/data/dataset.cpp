#include "data/dataset.h"

#include <stdexcept>

namespace phalanx::data {

Sequence Dataset::sequence(int64_t index) const {
  Sequence sequence;
  for (const Segment& segment : tokens_.row(static_cast<uint64_t>(index))) {
    const uint32_t readable = segment.length + (tokens_.continues(segment) ? 1 : 0);
    const auto ids = tokens_.ids().subspan(segment.begin, readable);
    const auto mask = tokens_.mask().subspan(segment.begin, readable);
    for (uint32_t t = 0; t < segment.length; ++t) {
      const bool has_target = t + 1 < readable && mask[t + 1];
      sequence.input_ids.push_back(ids[t]);
      sequence.labels.push_back(has_target ? ids[t + 1] : static_cast<int32_t>(kIgnoredLabel));
      sequence.position_ids.push_back(static_cast<int32_t>(t));
    }
    sequence.lengths.push_back(static_cast<int32_t>(segment.length));
    const bool is_of_last = !sequence.record_ids.empty() && sequence.record_ids.back() == segment.record_id;
    if (!is_of_last || segment.answer == 0) sequence.record_ids.push_back(segment.record_id);
  }
  tokens_.check_unchanged();
  return sequence;
}

Sequence Dataset::labelled_sequence(int64_t index) const {
  Sequence labelled = sequence(index);
  labelled.labels.clear();
  for (const Segment& segment : tokens_.row(static_cast<uint64_t>(index))) {
    for (const uint8_t mask : tokens_.mask().subspan(segment.begin, segment.length))
      labelled.labels.push_back(mask > 0 ? mask - 1 : static_cast<int32_t>(kIgnoredLabel));
  }
  return labelled;
}

float Dataset::value(int64_t index) const {
  return tokens_.row(static_cast<uint64_t>(index)).front().value;
}

std::vector<SourceRange> Dataset::sources() const {
  std::vector<SourceRange> ranges;
  const auto begin = tokens_.source_begin();
  for (size_t i = 0; i + 1 < begin.size(); ++i) {
    if (begin[i] == begin[i + 1]) continue;
    ranges.push_back({static_cast<int64_t>(begin[i]), static_cast<int64_t>(begin[i + 1]), weights_[i]});
  }
  return ranges;
}

namespace {

void append_values(const Values& from, Values& to) {
  for (const auto& [name, values] : from) to[name].insert(to[name].end(), values.begin(), values.end());
}

void check_lengths(const Values& values, size_t length) {
  for (const auto& [name, numbers] : values) {
    if (numbers.size() != length) throw std::logic_error("join: not every sequence has values of " + name);
  }
}

}  // namespace

Batch join(const std::vector<Sequence>& sequences) {
  Batch batch;
  batch.cu_seqlens.push_back(0);
  for (const Sequence& sequence : sequences) {
    batch.input_ids.insert(batch.input_ids.end(), sequence.input_ids.begin(), sequence.input_ids.end());
    batch.position_ids.insert(batch.position_ids.end(), sequence.position_ids.begin(),
                              sequence.position_ids.end());
    batch.record_ids.insert(batch.record_ids.end(), sequence.record_ids.begin(), sequence.record_ids.end());
    for (const int32_t label : sequence.labels) {
      batch.labels.push_back(label);
      batch.num_target_tokens += label != kIgnoredLabel;
    }
    for (const int32_t length : sequence.lengths) {
      batch.samples.insert(batch.samples.end(), static_cast<size_t>(length),
                           static_cast<int64_t>(batch.cu_seqlens.size()) - 1);
      batch.cu_seqlens.push_back(batch.cu_seqlens.back() + length);
    }
    append_values(sequence.row_values, batch.row_values);
    append_values(sequence.sample_values, batch.sample_values);
  }
  check_lengths(batch.row_values, batch.input_ids.size());
  check_lengths(batch.sample_values, batch.cu_seqlens.size() - 1);
  return batch;
}

}  // namespace phalanx::data
