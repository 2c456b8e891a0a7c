#include "fuzz/use_records.h"

#include "data/fake_tokenizer.h"
#include "data/judged_example.h"
#include "fuzz/fuzz.h"

namespace phalanx::fuzz {
namespace {

constexpr const char* kTemplate =
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor "
    "%}";

struct Builders {
  data::FakeTokenizer tokenizer{{"<s>", "<|im_start|>", "<|im_end|>"}};
  data::ExampleOptions options;
  data::ExampleBuilder examples;
  data::JudgedExampleBuilder judged;

  Builders()
      : options{.chat_template = kTemplate}, examples(tokenizer, options), judged(tokenizer, options) {}
};

void check_example(const data::Example& example) {
  promise(example.ids.size() == example.mask.size(), "each token has a mask");
  for (const uint8_t mask : example.mask) promise(mask <= 1, "a mask is 0 or 1");
}

void build(const Builders& builders, const data::Record& record) {
  switch (record.kind) {
    case data::Record::Kind::kPreference: {
      const auto pair = builders.judged.preference(record);
      check_example(pair.chosen);
      check_example(pair.rejected);
      promise(pair.num_prompt_tokens <= std::min(pair.chosen.ids.size(), pair.rejected.ids.size()),
              "the prompt is a part of both");
      return;
    }
    case data::Record::Kind::kUnpaired:
      return check_example(builders.judged.unpaired(record).answer);
    case data::Record::Kind::kStepwise: {
      const auto steps = builders.judged.stepwise(record);
      promise(steps.ids.size() == steps.labels.size(), "each token has a label");
      return;
    }
    default:
      return check_example(builders.examples.build(record));
  }
}

}  // namespace

void use_records(data::RecordReader& reader) {
  static const Builders builders;
  data::RawRecord raw;
  uint64_t last_byte = 0;
  int64_t last_line = 0;
  while (reader.next(raw)) {
    promise(raw.line >= last_line && raw.byte >= last_byte, "records come in the order of the file");
    last_line = raw.line;
    last_byte = raw.byte;
    if (!raw.problem.empty()) continue;
    data::jinja::Value value;
    if (!accepts([&] { value = reader.parse(raw); })) continue;
    for (const std::string& format : data::record_format_names())
      accepts([&] { data::read_record(value, format); });
    accepts([&] { build(builders, data::read_record(value, "auto")); });
  }
}

}  // namespace phalanx::fuzz
