#include "data/token_set_builder.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <thread>
#include <variant>

#include "core/error.h"

namespace phalanx::data {
namespace {

using nlohmann::ordered_json;

constexpr size_t kRecordsPerBatch = 4096;
constexpr size_t kBytesPerBatch = size_t{64} << 20;
constexpr int64_t kShownTokens = 4096;  // of the example in the report

struct Failure {
  std::string reason;
};
using Outcome = std::variant<RecordSamples, Failure>;

Outcome build_one(const RecordReader& reader, const RawRecord& record, const std::string& format,
                  const MakeSamples& make_samples) {
  if (!record.problem.empty()) return Failure{record.problem};
  try {
    return make_samples(read_record(reader.parse(record), format));
  } catch (const core::Error& error) {
    if (error.code() != core::ExitCode::kBadInput)
      core::fail(error.code(), "line {}: {}", record.line, error.what());
    return Failure{error.what()};
  }
}

/// All records of a batch on all cores; outcome i belongs to record i.
std::vector<Outcome> build_all(const RecordReader& reader, const std::vector<RawRecord>& records,
                               const std::string& format, const MakeSamples& make_samples) {
  std::vector<Outcome> outcomes(records.size());
  std::atomic<size_t> next{0};
  std::atomic<bool> failed{false};
  std::exception_ptr failure;
  const auto work = [&] {
    try {
      for (size_t i = next++; i < records.size() && !failed; i = next++)
        outcomes[i] = build_one(reader, records[i], format, make_samples);
    } catch (...) {
      if (!failed.exchange(true)) failure = std::current_exception();
    }
  };
  {
    std::vector<std::jthread> threads;
    const size_t count = std::min<size_t>(std::max(1u, std::thread::hardware_concurrency()), records.size());
    for (size_t i = 1; i < count; ++i) threads.emplace_back(work);
    work();
  }
  if (failure) std::rethrow_exception(failure);
  return outcomes;
}

}  // namespace

TokenSetBuilder::TokenSetBuilder(const PrepareOptions& options, const Tokenizer& tokenizer)
    : options_(options),
      make_samples_(sample_maker(options.kind, tokenizer,
                                 {options.data.loss_on, options.data.special_tokens_in_content,
                                  options.chat_template, true, options.step_separator})) {}

void TokenSetBuilder::read(size_t index) {
  source_ = index;
  format_ = options_.sources[index].format;
  reader_ = open_records(path(), {options_.sources[index].documents});
  std::vector<RawRecord> records;
  size_t bytes = 0;
  for (RawRecord record; reader_->next(record);) {
    bytes += record.text.size();
    records.push_back(std::move(record));
    if (records.size() < kRecordsPerBatch && bytes < kBytesPerBatch) continue;
    add(records);
    records.clear();
    bytes = 0;
  }
  add(records);
  formats_.push_back(format_);
  containers_.emplace_back(reader_->container());
}

TokenSetContent TokenSetBuilder::finish() {
  if (samples_.empty()) fail_empty();
  pack();
  content_.report = report();
  return std::move(content_);
}

void TokenSetBuilder::add(const std::vector<RawRecord>& records) {
  if (records.empty()) return;
  if (format_ == "auto") detect_format(records);
  std::vector<Outcome> outcomes;
  try {
    outcomes = build_all(*reader_, records, format_, make_samples_);
  } catch (const core::Error& error) {
    core::fail(error.code(), "{}: {}", path(), error.what());
  }
  for (size_t i = 0; i < records.size(); ++i) {
    if (auto* made = std::get_if<RecordSamples>(&outcomes[i])) {
      add(records[i], *made);
    } else {
      reject(records[i], std::get<Failure>(outcomes[i]).reason);
    }
    ++num_records_;
  }
}

/// `auto` is what the first readable record of the source is; if none of these is one, it stays open.
void TokenSetBuilder::detect_format(const std::vector<RawRecord>& records) {
  for (const RawRecord& record : records) {
    try {
      if (!record.problem.empty()) continue;
      format_ = read_record(reader_->parse(record), "auto").format;
      return;
    } catch (const core::Error&) {  // build_one finds the same and says it
    }
  }
}

void TokenSetBuilder::add(const RawRecord& record, RecordSamples& made) {
  for (const Example& sample : made.samples) num_special_ += sample.special_text_in_content ? 1 : 0;
  if (!fits(record, made)) return;
  if (samples_.empty()) first_ = made.samples.front();
  for (size_t i = 0; i < made.samples.size(); ++i) {
    const Example& sample = made.samples[i];
    num_straddling_ += sample.num_straddling;
    samples_.push_back({content_.ids.size(), static_cast<uint32_t>(sample.ids.size()),
                        static_cast<uint32_t>(source_), num_records_, static_cast<uint32_t>(i),
                        made.values[i]});
    content_.ids.insert(content_.ids.end(), sample.ids.begin(), sample.ids.end());
    content_.mask.insert(content_.mask.end(), sample.mask.begin(), sample.mask.end());
  }
}

/// Applies data.on_too_long; false: the record is dropped, and counted.
bool TokenSetBuilder::fits(const RawRecord& record, RecordSamples& made) {
  size_t length = 0;
  for (const Example& sample : made.samples) length = std::max(length, sample.ids.size());
  const int64_t limit = options_.data.sequence_length;
  if (static_cast<int64_t>(length) <= limit || format_ == "text") return true;  // documents are split
  if (options_.data.on_too_long == "error") {
    core::fail(core::ExitCode::kBadInput,
               "{}: line {}: the record has {} tokens but data.sequence_length is {}; raise it, or set "
               "data.on_too_long: drop or truncate",
               path(), record.line, length, limit);
  }
  if (options_.data.on_too_long == "drop") {
    ++drops_["longer than data.sequence_length"];
    return false;
  }
  if (!std::all_of(made.samples.begin(), made.samples.end(), [&](Example& sample) { return cut(sample); })) {
    ++drops_["no target left after cutting to data.sequence_length"];
    return false;
  }
  ++num_truncated_;
  return true;
}

/// False if no target is left.
bool TokenSetBuilder::cut(Example& example) {
  const auto length = std::min(example.ids.size(), static_cast<size_t>(options_.data.sequence_length));
  example.ids.resize(length);
  example.mask.resize(length);
  return std::any_of(example.mask.begin() + 1, example.mask.end(), [](uint8_t m) { return m > 0; });
}

void TokenSetBuilder::reject(const RawRecord& record, const std::string& reason) {
  bad_.push_back({path(), record.line, record.byte, reason});
  if (static_cast<int64_t>(bad_.size()) <= options_.data.max_bad_records) return;
  core::fail(core::ExitCode::kBadInput,
             "{}: line {} (byte {}): {}; this is bad record number {} and data.max_bad_records is {}", path(),
             record.line, record.byte, reason, bad_.size(), options_.data.max_bad_records);
}

void TokenSetBuilder::fail_empty() const {
  std::string why =
      bad_.empty() ? "no line at all" : fmt::format("line {} is bad: {}", bad_[0].line, bad_[0].reason);
  if (!drops_.empty())
    why = fmt::format("{} records dropped: {}", drops_.begin()->second, drops_.begin()->first);
  core::fail(core::ExitCode::kBadInput, "{}: no usable record: {}",
             options_.sources.empty() ? "data" : options_.sources[0].path, why);
}

void TokenSetBuilder::pack() {
  content_.source_begin = {0};
  content_.packing.row_begin = {0};
  const auto capacity = static_cast<uint32_t>(options_.data.sequence_length);
  auto begin = samples_.begin();
  for (size_t source = 0; source < formats_.size(); ++source) {
    const auto end =
        std::find_if(begin, samples_.end(), [&](const Segment& sample) { return sample.source != source; });
    const std::vector<Segment> mine(begin, end);
    const bool is_text = formats_[source] == "text";
    if (options_.kind != SampleKind::kWhole) {
      append(options_.kind == SampleKind::kPreference ? pack_records(mine) : pack_single(mine));
      begin = end;
      continue;
    }
    if (options_.data.packing) {
      append(is_text ? pack_split(mine, capacity) : pack_best_fit(mine, capacity));
    } else {
      append(pack_single(is_text ? split_samples(mine, capacity) : mine));
    }
    begin = end;
  }
}

void TokenSetBuilder::append(const Packing& packing) {
  Packing& all = content_.packing;
  const uint64_t before = all.segments.size();
  all.segments.insert(all.segments.end(), packing.segments.begin(), packing.segments.end());
  for (size_t row = 1; row < packing.row_begin.size(); ++row)
    all.row_begin.push_back(before + packing.row_begin[row]);
  content_.source_begin.push_back(all.row_begin.size() - 1);
}

int64_t TokenSetBuilder::count_targets() const {
  int64_t count = 0;
  for (const Segment& sample : samples_) {  // nothing predicts the first token of a sample
    const auto begin = content_.mask.begin() + static_cast<std::ptrdiff_t>(sample.begin);
    count += sample.length - 1 - std::count(begin + 1, begin + sample.length, 0);
  }
  return count;
}

ordered_json TokenSetBuilder::report() const {
  ordered_json drops = ordered_json::object();
  for (const auto& [reason, count] : drops_) drops[reason] = count;
  ordered_json sources = ordered_json::array();
  for (size_t i = 0; i < formats_.size(); ++i)
    sources.push_back(
        {{"path", options_.sources[i].path}, {"format", formats_[i]}, {"container", containers_[i]}});
  const auto shown = std::min<int64_t>(kShownTokens, samples_.front().length);
  return {{"sources", sources},
          {"records", num_records_},
          {"samples", samples_.size()},
          {"bad_records", bad_.size()},
          {"bad", to_json(bad_)},
          {"drops", drops},
          {"truncated", num_truncated_},
          {"sequences", content_.packing.row_begin.size() - 1},
          {"tokens", content_.ids.size()},
          {"target_tokens", count_targets()},
          {"straddling_tokens", num_straddling_},
          {"special_text_in_content", num_special_},
          {"example",
           {{"ids", std::vector<int32_t>(first_.ids.begin(), first_.ids.begin() + shown)},
            {"mask", std::vector<uint8_t>(first_.mask.begin(), first_.mask.begin() + shown)}}}};
}

}  // namespace phalanx::data
