#include "trainer/offline_data.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/error.h"
#include "data/data_options.h"
#include "data/sampler.h"
#include "trainer/data_setup.h"
#include "trainer/options.h"

namespace phalanx::trainer {
namespace {

JudgedRows judged_rows(std::shared_ptr<const data::Dataset> dataset, data::SampleKind kind) {
  const int64_t count = dataset->num_sequences();
  const bool has_labels = kind == data::SampleKind::kStepwise;
  return {count, [dataset = std::move(dataset), has_labels](int64_t row) {
            data::Sequence sequence = has_labels ? dataset->labelled_sequence(row) : dataset->sequence(row);
            sequence.sample_values[kJudgement].assign(sequence.lengths.size(), dataset->value(row));
            return sequence;
          }};
}

/// Keys that other methods read.
void check_data_keys(const core::Config& config) {
  const auto& options = config.get<data::DataOptions>();
  const std::string& name = config.get<MethodOptions>().name;
  if (options.packing)
    throw core::ConfigErrors(
        {fmt::format("{}: error: data.packing is true but must be false with method.name: {}, which compares "
                     "answers one by one; "
                     "batches have no padding without it either",
                     config.position("data.packing"), name)});
  if (options.loss_on != data::DataOptions().loss_on)
    throw core::ConfigErrors(
        {fmt::format("{}: error: data.loss_on is {} but method.name: {} learns from answers, whatever it "
                     "says; leave it out",
                     config.position("data.loss_on"), options.loss_on, name)});
}

class OfflineTask : public Task {
 public:
  OfflineTask(std::shared_ptr<const OfflineData> data, StartOffline start)
      : data_(std::move(data)), start_(std::move(start)) {}
  std::string report() const override { return data_->report; }
  int64_t epoch_size() const override { return data_->epoch_size; }
  std::unique_ptr<Method> start(const TrainedModel& trained, parallel::DistributedModel& model,
                                const BatchSizes& sizes) const override {
    return start_(data_, trained, model, sizes);
  }

 private:
  std::shared_ptr<const OfflineData> data_;
  StartOffline start_;
};

}  // namespace

int64_t RowFeed::row(int64_t sample) const {
  const int64_t real = has(sample) ? sample : *count - 1;
  return row_of ? row_of(real) : real;
}

int64_t RowFeed::size_of_batch(int64_t index) const {
  return count ? std::clamp<int64_t>(*count - index * batch, 0, batch) : batch;
}

int64_t RowFeed::before(int64_t sample) const {
  const int64_t index = sample / batch, first = index * batch;
  return sample == first ? first + std::max<int64_t>(1, size_of_batch(index)) - 1 : sample - 1;
}

RowFeed OfflineData::eval_feed(int64_t batch) const {
  return {&*eval, {}, batch, std::min(eval->count, max_eval_rows.value_or(eval->count))};
}

std::shared_ptr<const OfflineData> open_offline_data(const core::Config& config, const ModelSetup& setup,
                                                     comm::Communicator& group, data::SampleKind kind) {
  check_data_keys(config);
  auto data = std::make_shared<OfflineData>();
  TrainingData sets = set_up_data(config, setup, group, data->report, kind);
  const auto train = std::make_shared<const data::Dataset>(std::move(sets.train));
  const auto sampler = std::make_shared<const data::Sampler>(make_sampler(config, train->sources()));
  data->train = judged_rows(train, kind);
  data->order = [sampler](int64_t sample) { return sampler->sequence_index(sample); };
  data->epoch_size = sampler->epoch_size();
  if (sets.eval) data->eval = judged_rows(std::make_shared<const data::Dataset>(std::move(*sets.eval)), kind);
  data->max_length = config.get<data::DataOptions>().sequence_length;
  data->max_eval_rows = config.get<EvalOptions>().max_sequences;
  return data;
}

std::unique_ptr<Task> offline_task(std::shared_ptr<const OfflineData> data, StartOffline start) {
  return std::make_unique<OfflineTask>(std::move(data), std::move(start));
}

}  // namespace phalanx::trainer
