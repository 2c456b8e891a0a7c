#pragma once
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/config.h"
#include "data/batch.h"
#include "data/record_samples.h"
#include "trainer/method.h"

namespace phalanx::trainer {

/// Names of what the rows of judged data carry for each of their samples.
inline constexpr const char *kJudgement = "judgement",  ///< data::RecordSamples::values
    *kNumTargets = "num_targets",                       ///< labels that count
        *kWeight = "weight";                            ///< 1, or 0 for a row that is there for company

/// Judged records as sequences, by index: a pair is one sequence of two samples.
struct JudgedRows {
  int64_t count = 0;
  std::function<data::Sequence(int64_t row)> row;  ///< with kJudgement
};

/// Rows in the order in which a method meets them, batch by batch.
struct RowFeed {
  const JudgedRows* rows = nullptr;
  std::function<int64_t(int64_t sample)> row_of;  ///< empty: itself
  int64_t batch = 1;                              ///< samples of a batch
  std::optional<int64_t> count = {};  ///< of samples; those behind them repeat the last, without weight

  int64_t row(int64_t sample) const;
  bool has(int64_t sample) const { return !count || sample < *count; }
  int64_t size_of_batch(int64_t index) const;
  /// The sample in front of this one in its batch; of the first one the last.
  int64_t before(int64_t sample) const;
};

/// What a method that learns from judged records works with. Immutable.
struct OfflineData {
  JudgedRows train;
  std::optional<JudgedRows> eval;
  std::function<int64_t(int64_t sample)> order;  ///< rows of `train` by global sample number
  int64_t epoch_size = 0;
  std::optional<int64_t> max_eval_rows = {};
  int64_t max_length = 1 << 30;  ///< of samples that a method makes from several: data.sequence_length
  std::string report = {};

  RowFeed train_feed(int64_t batch) const { return {&train, order, batch, std::nullopt}; }
  RowFeed eval_feed(int64_t batch) const;
};

/// data.train and data.eval, tokenised or mapped. Collective. @throws core::Error.
std::shared_ptr<const OfflineData> open_offline_data(const core::Config& config, const ModelSetup& setup,
                                                     comm::Communicator& group, data::SampleKind kind);

using StartOffline = std::function<std::unique_ptr<Method>(
    std::shared_ptr<const OfflineData> data, const TrainedModel& trained, parallel::DistributedModel& model,
    const BatchSizes& sizes)>;
std::unique_ptr<Task> offline_task(std::shared_ptr<const OfflineData> data, StartOffline start);

}  // namespace phalanx::trainer
