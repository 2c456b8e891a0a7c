#include <algorithm>
#include <limits>

#include "core/error.h"
#include "data/batch.h"
#include "data/record_formats.h"

namespace phalanx::data {
namespace {

using jinja::Dict;

std::vector<int64_t> integers(const Dict& object, const std::string& name, size_t count) {
  std::vector<int64_t> numbers;
  for (const jinja::Value& item : required_list(object, name)) {
    if (!item.is_int()) {
      core::fail(core::ExitCode::kBadInput, "\"{}\"[{}] is {} but must be a whole number", name,
                 numbers.size(), jinja::type_name(item));
    }
    numbers.push_back(item.integer());
  }
  if (count > 0 && numbers.size() != count) {
    core::fail(core::ExitCode::kBadInput, "\"{}\" has {} numbers but \"input_ids\" has {}", name,
               numbers.size(), count);
  }
  return numbers;
}

/// Takes the places out of `mask` where the field, if it is there, has a 0.
void apply_mask(const Dict& object, const char* name, std::vector<uint8_t>& mask) {
  if (!has_field(object, name)) return;
  const std::vector<int64_t> numbers = integers(object, name, mask.size());
  for (size_t i = 0; i < mask.size(); ++i) {
    if (numbers[i] != 0 && numbers[i] != 1)
      core::fail(core::ExitCode::kBadInput, "\"{}\"[{}] is {} but must be 0 or 1", name, i, numbers[i]);
    mask[i] = mask[i] && numbers[i] == 1;
  }
}

void apply_labels(const Dict& object, const std::vector<int64_t>& ids, std::vector<uint8_t>& mask) {
  if (!has_field(object, "labels")) return;
  const std::vector<int64_t> labels = integers(object, "labels", mask.size());
  for (size_t i = 0; i < mask.size(); ++i) {
    if (labels[i] != kIgnoredLabel && labels[i] != ids[i]) {
      core::fail(core::ExitCode::kBadInput,
                 "\"labels\"[{}] is {} but must be the id at its place ({}) or {}; labels are not shifted", i,
                 labels[i], ids[i], kIgnoredLabel);
    }
    mask[i] = mask[i] && labels[i] != kIgnoredLabel;
  }
}

/// What the attention mask keeps: all but padding at the ends.
std::pair<size_t, size_t> attended(const Dict& object, size_t count) {
  std::vector<uint8_t> mask(count, 1);
  apply_mask(object, "attention_mask", mask);
  const auto first = std::find(mask.begin(), mask.end(), 1);
  const auto last = std::find(mask.rbegin(), mask.rend(), 1).base();
  if (first == mask.end()) core::fail(core::ExitCode::kBadInput, "\"attention_mask\" leaves out every token");
  if (std::find(first, last, 0) != last) {
    core::fail(
        core::ExitCode::kBadInput,
        "\"attention_mask\"[{}] is 0 between tokens that count; only padding at the ends may be left out",
        std::find(first, last, 0) - mask.begin());
  }
  return {first - mask.begin(), last - mask.begin()};
}

}  // namespace

RecordFormat tokens_format() {
  RecordFormat format;
  format.name = "tokens";
  format.keys = "input_ids";
  format.matches = [](const Dict& object) { return object.find("input_ids") != nullptr; };
  format.read = [](const Dict& object) {
    if (has_field(object, "seq_lengths")) {
      core::fail(core::ExitCode::kBadInput,
                 "\"seq_lengths\" says that several samples are packed into this record; give each its own "
                 "record and set data.packing");
    }
    const std::vector<int64_t> ids = integers(object, "input_ids", 0);
    const auto [begin, end] = attended(object, ids.size());
    std::vector<uint8_t> mask(ids.size(), 1);
    apply_labels(object, ids, mask);
    apply_mask(object, "completion_mask", mask);
    apply_mask(object, "assistant_masks", mask);
    Record record;
    record.kind = Record::Kind::kTokens;
    for (size_t i = begin; i < end; ++i) {
      if (ids[i] < 0 || ids[i] > std::numeric_limits<int32_t>::max())
        core::fail(core::ExitCode::kBadInput, "\"input_ids\"[{}] is {}, which is no token id", i, ids[i]);
      record.ids.push_back(static_cast<int32_t>(ids[i]));
      record.mask.push_back(mask[i]);
    }
    return record;
  };
  return format;
}

}  // namespace phalanx::data
