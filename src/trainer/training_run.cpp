#include "trainer/training_run.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <chrono>
#include <cmath>
#include <filesystem>
#include <optional>

#include "checkpoint/checkpoint_options.h"
#include "checkpoint/checkpoint_store.h"
#include "checkpoint/load.h"
#include "core/files.h"
#include "core/log.h"
#include "core/memory.h"
#include "core/progress.h"
#include "core/run_options.h"
#include "generate/rollout_options.h"
#include "ops/batch_invariant.h"
#include "ops/cpu/allocator.h"
#include "parallel/parallel_options.h"
#include "trainer/final_model.h"
#include "trainer/metrics.h"
#include "trainer/outage.h"
#include "trainer/trainer.h"

namespace phalanx::trainer {
namespace {

using nlohmann::ordered_json;
using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// The ids of all ranks, which hold consecutive parts of the global batch in rank order.
ordered_json join_record_ids(const std::vector<int64_t>& mine, comm::Communicator& group) {
  ordered_json all = ordered_json::array();
  for (const std::string& part : group.all_gather_strings(ordered_json(mine).dump())) {
    for (const auto& id : ordered_json::parse(part)) all.push_back(id);
  }
  return all;
}

int64_t num_steps(const TrainOptions& options, int64_t epoch_size) {
  if (options.max_steps) return *options.max_steps;
  const double samples = options.epochs.value_or(1.0) * static_cast<double>(epoch_size);
  return std::max<int64_t>(
      1, static_cast<int64_t>(std::ceil(samples / static_cast<double>(options.global_batch_size))));
}

/// Everything that lives as long as the run, in the order in which it is set up: build, adapter, allocate,
/// load, optimizer.
class TrainingRun {
 public:
  TrainingRun(const core::Config& config, comm::Communicator& group)
      : config_(config),
        group_(group),
        run_(config.get<core::RunOptions>()),
        train_(config.get<TrainOptions>()),
        model_setup_(config),
        mesh_(group, checked_shape()),
        compute_(compute_dtype(train_.precision)),
        trained_(build_trained_model(config, model_setup_, compute_)),
        distributed_(trained_.model, mesh_, distributed_options()),
        store_(group, run_.output_dir + "/checkpoints", config.get<checkpoint::CheckpointOptions>(),
               [](const std::string& line) { core::log_warning("{}", line); }),
        task_(find_method(config.get<MethodOptions>().name).open(config, model_setup_, group)),
        optimizer_(take_weights()),
        method_(task_->start(trained_, distributed_, {train_.global_batch_size, train_.micro_batch_size})),
        max_steps_(num_steps(train_, task_->epoch_size())),
        trainer_(distributed_, *method_, *optimizer_,
                 {config.get<OptimizerOptions>(), config.get<ScheduleOptions>(), train_.max_grad_norm,
                  max_steps_}) {}

  core::ExitCode run(const std::function<bool()>& stop_requested);

 private:
  bool is_main() const { return group_.rank() == 0; }
  parallel::DistributedOptions distributed_options() const {
    auto options = parallel::distributed_options(config_.get<parallel::ParallelOptions>(),
                                                 run_.determinism == "mesh_invariant",
                                                 parallel::parse_recompute(train_.recompute));
    options.masters_on_host = config_.get<OptimizerOptions>().offload_to_host;
    return options;
  }
  parallel::MeshShape checked_shape() const {
    check_mesh(config_, model_setup_.config());
    return config_.get<parallel::ParallelOptions>().mesh_shape();
  }
  std::unique_ptr<Optimizer> take_weights();
  std::optional<StepStats> step_when_possible(const std::function<bool()>& stop_requested);
  core::ExitCode stop_here();
  void announce() const;
  void resume();
  void write_row(const ordered_json& row) {
    if (metrics_) metrics_->write(row);
  }
  void log_step(const StepStats& stats, double step_s);
  void evaluate_now();
  void save_checkpoint(bool is_last);
  void save_final();
  ordered_json fingerprint() const;

  const core::Config& config_;
  ops::BatchInvariant invariant_{
      config_.get<generate::RolloutOptions>().batch_invariant};  // of every forward
  comm::Communicator& group_;
  core::RunOptions run_;
  TrainOptions train_;
  ModelSetup model_setup_;
  parallel::Mesh mesh_;
  at::ScalarType compute_;
  TrainedModel trained_;
  parallel::DistributedModel distributed_;
  checkpoint::CheckpointStore store_;
  std::unique_ptr<Task> task_;
  std::unique_ptr<Optimizer> optimizer_;
  std::unique_ptr<Method> method_;
  int64_t max_steps_;
  Trainer trainer_;
  std::optional<Metrics> metrics_;
  std::optional<core::Progress> progress_;
  std::optional<int64_t> saved_step_, evaluated_step_;
};

/// Each rank reads its own part.
std::unique_ptr<Optimizer> TrainingRun::take_weights() {
  if (distributed_.num_trained() == 0)
    core::fail(core::ExitCode::kBadConfig, "there is no trainable parameter: check lora.target_modules");
  fill_trained_model(trained_, model_setup_, compute_, static_cast<uint64_t>(run_.seed));
  distributed_.take_weights(compute_);
  return make_optimizer(config_.get<OptimizerOptions>(), distributed_.parameters());
}

core::ExitCode TrainingRun::run(const std::function<bool()>& stop_requested) {
  ops::cpu::release_unused_tensor_memory();  // what loading the weights needed
  if (is_main()) {
    core::write_file_atomic(run_.output_dir + "/config.resolved.yaml", config_.print(false));
    announce();
  }
  resume();
  if (is_main()) {
    metrics_.emplace(run_.output_dir, trainer_.steps_done() + 1);
    progress_.emplace(max_steps_, core::progress_options(), trainer_.steps_done());
  }
  const auto& eval = config_.get<EvalOptions>();
  const auto& checkpoint = config_.get<checkpoint::CheckpointOptions>();
  const auto due = [&](int64_t interval) { return interval > 0 && trainer_.steps_done() % interval == 0; };
  if (eval.every_steps > 0 && trainer_.steps_done() == 0) evaluate_now();
  while (trainer_.steps_done() < max_steps_) {
    const Clock::time_point start = Clock::now();
    const std::optional<StepStats> stats = step_when_possible(stop_requested);
    if (!stats) return stop_here();
    log_step(*stats, seconds_since(start));
    const bool last = trainer_.steps_done() == max_steps_;
    if (due(eval.every_steps) || (last && eval.every_steps > 0))
      evaluate_now();  // before the checkpoint, which remembers it
    const bool stop =
        group_.all_reduce_scalar(static_cast<int64_t>(stop_requested()), comm::ReduceOp::kMax) > 0;
    if (due(checkpoint.every_steps) || stop || (last && checkpoint.every_steps > 0))
      save_checkpoint(stop || last);
    if (stop && !last) return stop_here();
  }
  progress_.reset();
  if (eval.every_steps > 0 && evaluated_step_ != trainer_.steps_done())
    evaluate_now();  // evaluation was turned on after the last step
  if (checkpoint.save_final) save_final();
  return core::ExitCode::kDone;
}

/// Nothing where it had to be put off until the run was stopped or patience had ended.
std::optional<StepStats> TrainingRun::step_when_possible(const std::function<bool()>& stop_requested) {
  Outage outage(group_, stop_requested);
  while (true) {
    try {
      return trainer_.train_step();
    } catch (const Postponed& postponed) {
      if (!outage.wait(postponed)) return std::nullopt;
    }
  }
}

core::ExitCode TrainingRun::stop_here() {
  save_checkpoint(true);
  progress_.reset();
  if (is_main())
    core::log_note("stopped after step {}; the same command goes on from there", trainer_.steps_done());
  return core::ExitCode::kStopped;
}

void TrainingRun::announce() const {
  for (const std::string& notice : model_setup_.notices()) core::log_warning("{}", notice);
  const std::string report = task_->report();
  if (!report.empty()) core::log_note("{}", report.substr(0, report.find_last_not_of('\n') + 1));
  core::log_note(
      "model: {} parameters, {} of them trained; compute {}; {} rank(s) x {} thread(s); {} steps of {} "
      "sequences",
      distributed_.num_parameters(), distributed_.num_trained(), c10::toString(compute_), group_.size(),
      at::get_num_threads(), max_steps_, train_.global_batch_size);
}

/// What must be the same for a run to go on where it stopped: a change of any of these changes the meaning of
/// "step n".
ordered_json TrainingRun::fingerprint() const {
  return {{"run.seed", run_.seed},
          {"train.global_batch_size", train_.global_batch_size},
          {"samples per epoch", task_->epoch_size()},
          {"trained parameters", distributed_.num_trained()},
          {"optimizer.name", config_.get<OptimizerOptions>().name}};
}

void TrainingRun::resume() {
  const auto found = store_.find_resume();
  if (!found) return;
  const ordered_json& scalars = found->manifest.scalars;
  const ordered_json expected = fingerprint();
  for (const auto& [key, value] : expected.items()) {
    if (scalars.at("fingerprint").value(key, ordered_json()) != value) {
      core::fail(core::ExitCode::kBadConfig,
                 "{}: was made with {} = {}, now it is {}; set it back, choose another run.output_dir, or "
                 "start over with "
                 "checkpoint.resume: never",
                 found->path, key, scalars["fingerprint"].value(key, ordered_json()).dump(), value.dump());
    }
  }
  checkpoint::State state = trainer_.state(/*for_loading=*/true);
  checkpoint::load(group_, found->path, found->manifest, state.tensors);
  state.scalars = scalars;
  trainer_.restore(state);
  saved_step_ = trainer_.steps_done();
  if (scalars.contains("evaluated_step")) evaluated_step_ = scalars["evaluated_step"].get<int64_t>();
  if (is_main()) core::log_note("resumed from {} after step {}", found->path, trainer_.steps_done());
}

void TrainingRun::log_step(const StepStats& stats, double step_s) {
  const double rate = static_cast<double>(stats.tokens) / step_s;
  const auto& log = config_.get<LogOptions>();
  const double memory = group_.all_reduce_scalar(static_cast<double>(core::current_rss_bytes()));
  const ordered_json record_ids =
      log.record_ids ? join_record_ids(stats.record_ids, mesh_.dp()) : ordered_json();
  if (!is_main()) return;
  progress_->update({stats.step, stats.loss, rate, static_cast<uint64_t>(memory)});
  if (stats.step % log.every_steps != 0 && stats.step != max_steps_) return;
  ordered_json row = {{"step", stats.step},
                      {"loss", stats.loss},
                      {"grad_norm", stats.grad_norm},
                      {"learning_rate", stats.learning_rate},
                      {"num_tokens", trainer_.tokens_seen()},
                      {"tokens_per_s", rate},
                      {"step_s", step_s},
                      {"memory_bytes", static_cast<int64_t>(memory)},
                      {"target_tokens", stats.target_tokens}};
  for (const Metric& metric : stats.metrics) row[metric.name] = metric.value;
  if (log.record_ids) row["record_ids"] = record_ids;
  write_row(row);
}

void TrainingRun::evaluate_now() {
  evaluated_step_ = trainer_.steps_done();
  const Clock::time_point start = Clock::now();
  const std::optional<Evaluation> found = method_->evaluate();
  if (!found || !is_main()) return;
  core::log_note("step {}: {}", trainer_.steps_done(), found->summary);
  ordered_json row = {{"step", trainer_.steps_done()}};
  row.update(found->row);
  row["eval_runtime"] = seconds_since(start);
  write_row(row);
}

void TrainingRun::save_checkpoint(bool is_last) {
  if (saved_step_ == trainer_.steps_done()) return;
  ops::cpu::release_unused_tensor_memory();  // of the activations; joined master weights take their place
  checkpoint::State state = trainer_.state();
  state.scalars["fingerprint"] = fingerprint();
  if (evaluated_step_) state.scalars["evaluated_step"] = *evaluated_step_;
  const checkpoint::SaveResult result =
      is_last ? store_.save_last(state, trainer_.steps_done()) : store_.save(state, trainer_.steps_done());
  if (result.committed) saved_step_ = trainer_.steps_done();
}

void TrainingRun::save_final() {
  distributed_.with_whole_weights([&](const model::WeightSource& weights) {
    write_final_model(run_.output_dir + "/final", config_, model_setup_, weights, compute_);
  });
  group_.barrier();
}

}  // namespace

at::ScalarType compute_dtype(const std::string& precision) {
  if (precision == "fp64") return at::kDouble;
  if (precision == "fp32") return at::kFloat;
  if (precision == "bf16") return at::kBFloat16;
  return __builtin_cpu_supports("avx512bf16") ? at::kBFloat16 : at::kFloat;
}

core::ExitCode run_training(const core::Config& config, comm::Communicator& group,
                            const std::function<bool()>& stop_requested) {
  return TrainingRun(config, group).run(stop_requested);
}

}  // namespace phalanx::trainer
