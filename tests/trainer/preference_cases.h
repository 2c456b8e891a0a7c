#pragma once
#include <ATen/ATen.h>

#include "core/random.h"
#include "mesh_cases.h"
#include "trainer/offline_method.h"

/// Tiny judged data and recipes for tests of preference methods.
namespace phalanx::trainer::test {

/// Record i: a prompt of two to four tokens and `num_answers` answers of two to seven to it.
inline data::Sequence tiny_answers(int64_t record, int64_t vocab, int num_answers, double judgement) {
  const auto draw = [&](int64_t index, uint64_t below) {
    return static_cast<int32_t>(
        core::random_bits(9, static_cast<uint64_t>(record), static_cast<uint64_t>(index)) % below);
  };
  const int32_t prompt = 2 + draw(0, 3);
  data::Sequence sequence;
  for (int answer = 0; answer < num_answers; ++answer) {
    const int32_t length = prompt + 2 + draw(1 + answer, 6);
    const auto token = [&](int32_t t) {
      return draw(t < prompt ? 100 + t : 1000 * (answer + 1) + t, static_cast<uint64_t>(vocab));
    };
    for (int32_t t = 0; t < length; ++t) {
      const bool has_target = t + 1 >= prompt && t + 1 < length;
      sequence.input_ids.push_back(token(t));
      sequence.labels.push_back(has_target ? token(t + 1) : static_cast<int32_t>(data::kIgnoredLabel));
      sequence.position_ids.push_back(t);
    }
    sequence.lengths.push_back(length);
  }
  sequence.record_ids = {record};
  sequence.sample_values[kJudgement].assign(sequence.lengths.size(), judgement);
  return sequence;
}

inline std::shared_ptr<const OfflineData> tiny_pairs(int64_t vocab) {
  auto data = std::make_shared<OfflineData>();
  data->train = {1000, [vocab](int64_t row) { return tiny_answers(row, vocab, 2, 0.25); }};
  data->epoch_size = 1000;
  return data;
}

inline std::shared_ptr<const OfflineData> tiny_judged(int64_t vocab) {
  auto data = std::make_shared<OfflineData>();
  data->train = {1000, [vocab](int64_t row) { return tiny_answers(row, vocab, 1, row % 3 == 0 ? 0 : 1); }};
  data->epoch_size = 1000;
  return data;
}

/// Another model of the same sizes, so that log ratios are not zero.
inline ReferenceSettings tiny_reference(const model::TransformerConfig& config) {
  return {{[config] { return model::build(config); },
           [](model::CausalLm& model, at::ScalarType dtype) { model::initialize(model, dtype, 12); }}};
}

}  // namespace phalanx::trainer::test
