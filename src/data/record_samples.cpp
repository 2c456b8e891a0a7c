#include "data/record_samples.h"

#include "core/error.h"
#include "data/judged_example.h"

namespace phalanx::data {
namespace {

void check_kind(const Record& record, Record::Kind wanted, const char* keys) {
  if (record.kind == wanted) return;
  core::fail(core::ExitCode::kBadConfig,
             "a record of format {} is {}; method.name learns from records with {} (see docs/data.md)",
             record.format, describe(record.kind), keys);
}

}  // namespace

MakeSamples sample_maker(SampleKind kind, const Tokenizer& tokenizer, const ExampleOptions& options) {
  if (kind == SampleKind::kWhole) {
    return [builder = std::make_shared<const ExampleBuilder>(tokenizer, options)](const Record& record) {
      return RecordSamples{{builder->build(record)}};
    };
  }
  const auto builder = std::make_shared<const JudgedExampleBuilder>(tokenizer, options);
  if (kind == SampleKind::kPreference) {
    return [builder](const Record& record) {
      check_kind(record, Record::Kind::kPreference, "chosen and rejected answers");
      PreferenceExample pair = builder->preference(record);
      return RecordSamples{{std::move(pair.chosen), std::move(pair.rejected)},
                           static_cast<float>(record.margin)};
    };
  }
  return [builder](const Record& record) {
    check_kind(record, Record::Kind::kUnpaired, "a completion and a label: true or false");
    UnpairedExample example = builder->unpaired(record);
    return RecordSamples{{std::move(example.answer)}, example.is_desirable ? 1.0F : 0.0F};
  };
}

}  // namespace phalanx::data
