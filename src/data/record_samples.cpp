#include "data/record_samples.h"

#include "core/error.h"
#include "data/batch.h"
#include "data/judged_example.h"

namespace phalanx::data {
namespace {

[[noreturn]] void refuse_kind(const Record& record, const char* keys) {
  core::fail(core::ExitCode::kBadConfig,
             "a record of format {} is {}; method.name learns from records with {} (see docs/data.md)",
             record.format, describe(record.kind), keys);
}

RecordSamples preference_samples(const JudgedExampleBuilder& builder, const Record& record,
                                 std::vector<float> values) {
  PreferenceExample pair = builder.preference(record);
  return {{std::move(pair.chosen), std::move(pair.rejected)}, std::move(values)};
}

RecordSamples stepwise_samples(const JudgedExampleBuilder& builder, const Record& record) {
  StepwiseExample steps = builder.stepwise(record);
  Example example;
  for (const int32_t label : steps.labels)
    example.mask.push_back(label == kIgnoredLabel ? 0 : static_cast<uint8_t>(1 + label));
  example.ids = std::move(steps.ids);
  return {{std::move(example)}, {0}};
}

}  // namespace

MakeSamples sample_maker(SampleKind kind, const Tokenizer& tokenizer, const ExampleOptions& options) {
  if (kind == SampleKind::kWhole) {
    return [builder = std::make_shared<const ExampleBuilder>(tokenizer, options)](const Record& record) {
      return RecordSamples{{builder->build(record)}, {0}};
    };
  }
  const auto builder = std::make_shared<const JudgedExampleBuilder>(tokenizer, options);
  if (kind == SampleKind::kPreference) {
    return [builder](const Record& record) {
      if (record.kind != Record::Kind::kPreference) refuse_kind(record, "chosen and rejected answers");
      const auto margin = static_cast<float>(record.margin);
      return preference_samples(*builder, record, {margin, margin});
    };
  }
  if (kind == SampleKind::kStepwise) {
    return [builder](const Record& record) {
      if (record.kind != Record::Kind::kStepwise) refuse_kind(record, "prompt, completions and labels");
      return stepwise_samples(*builder, record);
    };
  }
  return [builder](const Record& record) {
    if (record.kind == Record::Kind::kPreference) return preference_samples(*builder, record, {1, 0});
    if (record.kind != Record::Kind::kUnpaired)
      refuse_kind(record, "a completion and a label (true or false), or chosen and rejected answers");
    UnpairedExample example = builder->unpaired(record);
    return RecordSamples{{std::move(example.answer)}, {example.is_desirable ? 1.0F : 0.0F}};
  };
}

}  // namespace phalanx::data
