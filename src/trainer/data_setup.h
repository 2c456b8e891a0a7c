#pragma once
#include <optional>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "core/config.h"
#include "data/data_options.h"
#include "data/dataset.h"
#include "data/record_samples.h"
#include "data/sampler.h"
#include "trainer/model_setup.h"

namespace phalanx::trainer {

struct TrainingData {
  data::Dataset train;
  std::optional<data::Dataset> eval;
};

/// Tokenises or maps data.train and data.eval. Collective. `report` gets the start-up text on rank 0.
TrainingData set_up_data(const core::Config& config, const ModelSetup& model, comm::Communicator& group,
                         std::string& report, data::SampleKind kind = data::SampleKind::kWhole);

/// The order of samples that sections `run` and `data` ask for.
data::Sampler make_sampler(const core::Config& config, std::vector<data::SourceRange> sources);

/// data::prepare() as section `data` says, on several ranks: rank 0 builds what is not cached, then the
/// others map it. Collective.
data::Dataset prepare_on_ranks(const core::Config& config, const std::vector<data::SourceOptions>& sources,
                               const std::string& chat_template, const data::Tokenizer& tokenizer,
                               comm::Communicator& group, bool* built = nullptr,
                               data::SampleKind kind = data::SampleKind::kWhole);

/// Reads the first record of a source. @throws core::Error (65) if the file is missing or the record has no
/// known format.
void check_data_header(const data::SourceOptions& source);

}  // namespace phalanx::trainer
