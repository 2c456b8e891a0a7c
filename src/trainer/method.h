#pragma once
#include <ATen/core/Tensor.h>

#include <filesystem>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "core/config.h"
#include "core/stop.h"
#include "data/batch.h"
#include "model/causal_lm.h"
#include "parallel/distributed_model.h"
#include "trainer/model_setup.h"

namespace phalanx::trainer {

/// A figure of a step or of an evaluation, under its name in metrics.jsonl.
struct Metric {
  std::string name;
  double value;
};

/// Tokens of a global batch.
struct TokenCounts {
  int64_t tokens = 0;
  int64_t targets = 0;  ///< labels that are not ignored
};

/// What an evaluation found.
struct Evaluation {
  std::string summary;         ///< one line for the log
  nlohmann::ordered_json row;  ///< for metrics.jsonl: "eval_loss", ...
};

/// A model that a method trains beside the one it was started on, on the same micro-batches and with the same
/// optimizer: a critic.
struct Companion {
  std::string prefix;  ///< of its tensors' names in checkpoints: "critic."
  parallel::DistributedModel& model;
  /// As Method::loss, of this model's output.
  std::function<at::Tensor(size_t micro_step, const data::Batch& local, const model::LayersOutput& output)>
      loss;
};

/// A training method at work on one model: where the batches of a step come from and what is minimised on
/// them. Each rank has one; the collective functions are called on all ranks of the mesh in the same order:
///
///     load(step)                      whole micro-batches of this data-parallel rank
///     begin_step(local, counts)       once, before the forwards; local: the rows of them on this rank
///     loss(i, local, output)          for each micro-batch, on the ranks that have the last layers
///     companions' losses              the same for each further model that it trains
///     metrics()
///
/// The loss of a step is the sum of the losses of all micro-batches over mesh.batch(), and must not depend on
/// how the global batch is cut: each is divided by counts of the global batch.
class Method {
 public:
  virtual ~Method() = default;
  /// @param step  from 0. The same number of micro-batches on every rank. Collective.
  /// @throws Postponed (postponed.h).
  virtual std::vector<data::Batch> load(int64_t step) = 0;
  /// Finds what needs the whole batch (divisors) or other forwards (a reference's log-probabilities), and may
  /// add values to the rows. Collective.
  virtual void begin_step(std::vector<data::Batch>& local, const TokenCounts& counts) = 0;
  /// The scalar that this micro-batch adds to the loss of the step.
  virtual at::Tensor loss(size_t micro_step, const data::Batch& local, const model::LayersOutput& output) = 0;
  /// They live as long as the method.
  virtual std::vector<Companion> companions() { return {}; }
  /// Figures of the last step over the global batch, besides the loss; the same on every rank. Collective.
  virtual std::vector<Metric> metrics() { return {}; }
  /// On data.eval; nothing where there is none. Collective.
  virtual std::optional<Evaluation> evaluate() { return std::nullopt; }
  /// What a checkpoint must remember of the method beside weights and step, the same on every rank.
  virtual nlohmann::ordered_json state() const { return nlohmann::ordered_json::object(); }
  virtual void restore(const nlohmann::ordered_json& state) { (void)state; }
  /// Asked inside of long waits of load() and evaluate(): they leave with core::Stopped, on every rank and
  /// with nothing changed, when `stop` asks for it.
  virtual void stop_on(core::StopRequest stop) { (void)stop; }
  /// Writes its companions into folders of their own below that of the final model. Collective.
  virtual void write_companions(const std::filesystem::path& final_folder) { (void)final_folder; }
};

/// How samples make batches, on any mesh.
struct BatchSizes {
  int64_t global = 8;  ///< sequences (pairs, prompts) per optimizer step
  int64_t micro = 1;   ///< per forward on one data-parallel rank; run.determinism: mesh_invariant makes it 1
};

/// A method with its data and settings, before there is a model. Immutable; ranks that are threads share it.
class Task {
 public:
  virtual ~Task() = default;
  virtual std::string report() const { return {}; }  ///< for the start-up text
  virtual int64_t epoch_size() const = 0;            ///< samples of one pass over the data
  /// Both outlive the method. Collective over the mesh of `model`.
  virtual std::unique_ptr<Method> start(const TrainedModel& trained, parallel::DistributedModel& model,
                                        const BatchSizes& sizes) const = 0;
};

/// A name for method.name.
struct MethodKind {
  std::string name;
  std::string help;
  std::vector<std::string> keys;  ///< of section `method` that it reads; others are refused with it
  /// Reads or maps the data. Collective over `group`. @throws core::Error.
  std::function<std::unique_ptr<Task>(const core::Config&, const ModelSetup&, comm::Communicator& group)>
      open;
  /// Of the score that it trains in place of an output matrix (model::TransformerConfig::num_labels).
  int64_t num_labels = 0;
  bool labels_tokens = false;  ///< the same
  /// Adds modules that it trains beside the model's own, with weights of this dtype; their names begin with
  /// "critic.", by which checkpoints tell them from the model. Empty: there are none.
  std::function<void(const core::Config&, model::CausalLm& model, at::ScalarType dtype)> extend = {};
};

/// All of them, each declared beside its code and listed once, in methods.cpp.
const std::vector<MethodKind>& methods();
const MethodKind& find_method(const std::string& name);  ///< throws core::Error (78) listing the known ones
std::vector<std::string> method_names();

/// The batch's tensors on `device`.
model::ModelInput model_input(const data::Batch& batch, at::Device device);
at::Tensor labels(const data::Batch& batch, at::Device device);

}  // namespace phalanx::trainer
