#pragma once
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "trainer/loader.h"
#include "trainer/method.h"
#include "trainer/offline_data.h"
#include "trainer/reference.h"
#include "trainer/sample_sums.h"

namespace phalanx::trainer {

inline constexpr const char* kReferenceSums = "ref_logps";  ///< of a sample: log p under the reference

/// Which model the reference is, and when it is asked.
struct ReferenceSettings {
  FrozenModel frozen;
  bool is_copy = false;     ///< `frozen`, also under an adapter
  bool precompute = false;  ///< once before the training, for all rows
};
/// method.ref_model, method.precompute_ref_log_probs; without them the model as the run begins with it: under
/// a fresh adapter the base, else a copy. @throws core::Error.
ReferenceSettings reference_settings(const core::Config& config, const ModelSetup& setup);

/// Of each row the sum of log p over the answer weighs its tokens by this, where a method attaches it.
inline constexpr const char* kTokenWeight = "token_weight";

/// A method that learns from judged records: rows in batches, the loss of a batch as a sum over its samples.
/// Means are over the samples of the global batch that have weight.
class OfflineMethod : public Method {
 public:
  std::vector<data::Batch> load(int64_t step) override;
  void begin_step(std::vector<data::Batch>& local, const TokenCounts& counts) override;
  at::Tensor loss(size_t micro_step, const data::Batch& local, const model::LayersOutput& output) override;
  std::vector<Metric> metrics() override;
  std::optional<Evaluation> evaluate() override;

 protected:
  /// A batch, of data.train or data.eval.
  struct Step {
    const RowFeed& feed;
    int64_t index;  ///< of the batch
    bool is_training;
    double num_rows() const { return static_cast<double>(feed.size_of_batch(index)); }
  };

  OfflineMethod(std::shared_ptr<const OfflineData> data, parallel::DistributedModel& model,
                const BatchSizes& sizes);
  /// Rows carry kReferenceSums from now on.
  void use_reference(const ReferenceSettings& settings, const TrainedModel& trained);

  /// What the model sees of a sample.
  virtual data::Sequence sequence(const RowFeed& feed, int64_t sample) const;
  /// Finds what needs the whole batch. Collective.
  virtual void prepare(std::vector<data::Batch>& local, const Step& step);
  /// The addend of this micro-batch to the loss of the batch, the same on every rank of cp. May add to
  /// sums().
  virtual at::Tensor batch_loss(const data::Batch& local, const at::Tensor& hidden) = 0;
  /// The last touch to figures of a batch. Collective.
  virtual std::vector<Metric> finished(std::vector<Metric> metrics) { return metrics; }

  double num_rows() const { return num_rows_; }  ///< of the batch under way
  parallel::DistributedModel& model() const { return model_; }
  comm::Communicator& cp() const { return model_.mesh().cp(); }
  MetricSums& sums() { return sums_; }
  const BatchSizes& sizes() const { return sizes_; }
  at::Device device() const { return model_.parameters().options().device; }

  /// log p of the rows [N], and their sums over each sample [S], weighed by kTokenWeight where it is there.
  at::Tensor row_logprobs_of(const data::Batch& local, const at::Tensor& hidden) const;
  at::Tensor sample_sums(const at::Tensor& rows, const data::Batch& local) const;
  /// The policy's sums for each sample of micro-batches, without a gradient, fp64; not defined on ranks
  /// without the last layers. Collective.
  std::vector<at::Tensor> policy_sums(const std::vector<data::Batch>& local) const;
  std::vector<data::Batch> local_parts(const std::vector<data::Batch>& batches) const;
  /// Asks the reference. Collective.
  void attach_reference_sums(std::vector<data::Batch>& local) const;
  /// `mine` [k] fp64 of each data-parallel rank, one after the other, on every rank of the mesh; where this
  /// rank has none (undefined), those of the ranks with the last layers. k is the same everywhere.
  /// Collective.
  at::Tensor in_global_order(const at::Tensor& mine, int64_t size) const;
  /// Sum over the global batch of a number of each rank's samples. Collective.
  double sum_over_samples(double mine) const;

 private:
  using Table = std::vector<double>;  // of a data set: sums of each row's samples
  Table precomputed(const JudgedRows& rows, const ReferenceSettings& settings, const TrainedModel& trained);
  std::vector<data::Batch> batches(const RowFeed& feed, int64_t index) const;

  std::shared_ptr<const OfflineData> data_;
  parallel::DistributedModel& model_;
  BatchSizes sizes_;
  RowFeed train_feed_;
  std::optional<RowFeed> eval_feed_;
  std::unique_ptr<Reference> reference_;
  std::map<const JudgedRows*, Table> tables_;
  int64_t step_ = 0;
  double num_rows_ = 0;
  MetricSums sums_;
};

/// sums [2P] of pairs, each chosen, then rejected.
struct ByAnswer {
  at::Tensor chosen, rejected;  // [P]
};
ByAnswer by_answer(const at::Tensor& of_samples);

}  // namespace phalanx::trainer
