#pragma once
#include <ATen/core/Tensor.h>

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "data/batch.h"
#include "model/causal_lm.h"
#include "parallel/distributed_model.h"
#include "trainer/method.h"

/// What losses over whole samples (preferences, rewards, policies) are made of. Rows are those of this rank,
/// also under context parallelism; samples are always whole.
namespace phalanx::trainer {

/// For methods of log-probabilities: a tied matrix gets both of its gradients in their backward, so that
/// stages, which have one of its uses each, could not add them in the order in which one rank does.
/// @throws core::Error (78) where stages of such a model should be mesh_invariant.
void check_order_of_gradients(const parallel::DistributedModel& model);

/// log p(label) of each row [N] in nats, 0 where ignored: differentiable.
at::Tensor row_logprobs(model::CausalLm& model, const data::Batch& local, const at::Tensor& hidden,
                        const ops::LogprobOptions& options = {});

/// The score of each row [N] under score.weight [1, h], in the dtype of sums: differentiable. `score` makes
/// it of hidden states.
at::Tensor row_scores(const at::Tensor& hidden, comm::Communicator& tp,
                      const std::function<at::Tensor(const at::Tensor& hidden)>& score);

/// Sums of `rows` [N] over each sample: [S], on every rank of `cp` the whole sums. Forward sends S numbers
/// over `cp`, the backward nothing: each rank computes the whole loss from them, and the gradients of the
/// weights are added over cp anyhow.
at::Tensor sum_by_sample(const at::Tensor& rows, const data::Batch& local, comm::Communicator& cp);

/// The labels that count in each sample [S], fp64; the same on every rank of `cp`.
at::Tensor targets_by_sample(const data::Batch& local, comm::Communicator& cp);

/// A loss that every rank of `cp` has computed whole: its value counts once among them, its gradient on each.
at::Tensor count_value_once(const at::Tensor& loss, comm::Communicator& cp);

/// Values of the batch as a tensor of the loss's dtype. @throws std::logic_error if there are none of that
/// name.
at::Tensor row_values(const data::Batch& local, const std::string& name, const at::TensorOptions& options);
at::Tensor sample_values(const data::Batch& local, const std::string& name, const at::TensorOptions& options);

/// Means, least and greatest values over the global batch from those of micro-batches.
class MetricSums {
 public:
  /// `sum` of `count` numbers of whole samples: what every rank of a context-parallel group adds alike.
  void add(const std::string& name, double sum, double count);
  void add(const std::string& name, const at::Tensor& values);  ///< all elements of them
  /// The same of this rank's own rows.
  void add_rows(const std::string& name, double sum, double count);
  /// The least or greatest element of `values`, which may have none.
  void add_lowest(const std::string& name, const at::Tensor& values);
  void add_highest(const std::string& name, const at::Tensor& values);
  /// sum / count over all ranks or the extreme value, in the order of the names; nothing is left. NaN where
  /// there was no number. Collective.
  std::vector<Metric> take(const parallel::Mesh& mesh);

 private:
  enum class Kind { kMean, kLowest, kHighest };
  struct Sum {
    Kind kind = Kind::kMean;
    double total = 0, count = 0;  // of an extreme value: itself (of the lowest with its sign turned), and 1
    bool is_of_rows = false;
  };
  void add_extreme(const std::string& name, Kind kind, const at::Tensor& values);
  std::map<std::string, Sum> sums_;
};

/// Without those that are NaN: means of nothing.
std::vector<Metric> without_nan(std::vector<Metric> metrics);

}  // namespace phalanx::trainer
