#include "data/prepare.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>
#include <atomic>
#include <exception>
#include <filesystem>
#include <fstream>
#include <map>
#include <thread>
#include <variant>

#include "core/error.h"
#include "data/example.h"
#include "data/json_lines.h"

namespace phalanx::data {
namespace {

using nlohmann::ordered_json;
constexpr size_t kLinesPerBatch = 4096;
constexpr uint64_t kEdgeBytes = 1 << 20;  // of each file's beginning and end, in the cache key

// ---- cache key

uint64_t hash_file_edges(const std::string& path, uint64_t size) {
  std::ifstream file(path, std::ios::binary);
  std::string bytes(std::min(size, 2 * kEdgeBytes), '\0');
  const auto head = static_cast<std::streamsize>(std::min(size, kEdgeBytes));
  file.read(bytes.data(), head);
  if (size > kEdgeBytes) {
    const auto tail = static_cast<std::streamsize>(std::min(size - kEdgeBytes, kEdgeBytes));
    file.seekg(-tail, std::ios::end);
    file.read(bytes.data() + head, tail);
  }
  return XXH3_64bits(bytes.data(), bytes.size());
}

ordered_json describe_file(const SourceOptions& source) {
  if (!std::filesystem::exists(source.path)) {
    core::fail(core::ExitCode::kBadInput, "{}: no such file; check data.train and data.eval", source.path);
  }
  if (!std::filesystem::is_regular_file(source.path)) core::fail(core::ExitCode::kBadInput, "{}: not a regular file", source.path);
  const uint64_t size = std::filesystem::file_size(source.path);
  const auto modified = std::filesystem::last_write_time(source.path).time_since_epoch().count();
  return {source.path, source.format, size, modified, hash_file_edges(source.path, size)};
}

uint64_t cache_key(const PrepareOptions& options, const Tokenizer& tokenizer) {
  ordered_json key = ordered_json::array();
  for (const SourceOptions& source : options.sources) key.push_back(describe_file(source));
  const DataOptions& data = options.data;
  key.push_back({tokenizer.fingerprint(), options.chat_template, data.sequence_length, data.packing, data.loss_on, data.on_too_long,
                 data.special_tokens_in_content, data.max_bad_records});
  const std::string text = key.dump();
  return XXH3_64bits(text.data(), text.size());
}

// ---- records to tokens

struct Failure {
  std::string reason;
};
using Outcome = std::variant<Example, Failure>;

Outcome build_one(const JsonLine& line, const std::string& format, const ExampleBuilder& builder) {
  if (!line.problem.empty()) return Failure{line.problem};
  try {
    return builder.build(parse_record(line.text, format));
  } catch (const core::Error& error) {
    return Failure{error.what()};
  }
}

std::vector<Outcome> build_all(const std::vector<JsonLine>& lines, const std::string& format, const ExampleBuilder& builder) {
  std::vector<Outcome> outcomes(lines.size());
  std::atomic<size_t> next{0};
  std::exception_ptr failure;
  std::atomic<bool> failed{false};
  const auto work = [&] {
    try {
      for (size_t i = next++; i < lines.size(); i = next++) outcomes[i] = build_one(lines[i], format, builder);
    } catch (...) {
      if (!failed.exchange(true)) failure = std::current_exception();
    }
  };
  {
    std::vector<std::jthread> threads;
    const size_t count = std::min<size_t>(std::max(1u, std::thread::hardware_concurrency()), lines.size());
    for (size_t i = 1; i < count; ++i) threads.emplace_back(work);
    work();
  }
  if (failure) std::rethrow_exception(failure);
  return outcomes;
}

/// Collects what the records become, and what became of the others.
class Collector {
 public:
  Collector(const PrepareOptions& options, const Tokenizer& tokenizer)
      : options_(options), builder_(tokenizer, {options.data.loss_on, options.data.special_tokens_in_content, options.chat_template, true}) {}

  void read(uint32_t index) {
    const SourceOptions& source = options_.sources[index];
    source_ = index;
    format_ = source.format;
    JsonLines reader(source.path);
    std::vector<JsonLine> lines;
    for (bool more = true; more;) {
      JsonLine line;
      more = reader.next(line);
      if (more) lines.push_back(std::move(line));
      if (lines.size() == kLinesPerBatch || (!more && !lines.empty())) {
        add(lines);
        lines.clear();
      }
    }
    formats_.push_back(format_);
  }

  TokenSetContent finish() {
    if (samples_.empty()) {
      const std::string first = bad_.empty() ? "it is empty" : fmt::format("first bad record: line {}: {}", bad_[0].line, bad_[0].reason);
      core::fail(core::ExitCode::kBadInput, "{}: no good record; {}", options_.sources[0].path, first);
    }
    write_quarantine();
    pack();
    content_.report = report();
    return std::move(content_);
  }

 private:
  struct BadRecord {
    std::string file;
    int64_t line;
    uint64_t byte;
    std::string reason;
  };

  void add(const std::vector<JsonLine>& lines) {
    if (format_ == "auto") format_ = detect(lines.front());
    const std::vector<Outcome> outcomes = build_all(lines, format_, builder_);
    for (size_t i = 0; i < lines.size(); ++i) {
      if (const auto* example = std::get_if<Example>(&outcomes[i])) add(lines[i], *example);
      else quarantine(lines[i], std::get<Failure>(outcomes[i]).reason);
      ++num_records_;
    }
  }

  std::string detect(const JsonLine& line) const {
    try {
      return parse_record(line.text, "auto").format;
    } catch (const core::Error& error) {
      core::fail(core::ExitCode::kBadInput, "{}: line {}: {}; set the format of this source", options_.sources[source_].path, line.number,
                 error.what());
    }
  }

  void add(const JsonLine& line, const Example& example) {
    special_text_ += example.special_text_in_content;
    auto length = static_cast<int64_t>(example.ids.size());
    const bool is_document = format_ == "text" && options_.data.packing;
    if (length > options_.data.sequence_length && !is_document) {
      if (options_.data.on_too_long == "error") {
        core::fail(core::ExitCode::kBadInput,
                   "{}: line {}: the record has {} tokens but data.sequence_length is {}; raise it, or set data.on_too_long: drop or truncate",
                   options_.sources[source_].path, line.number, length, options_.data.sequence_length);
      }
      const bool keeps_target = std::find(example.mask.begin() + 1, example.mask.begin() + options_.data.sequence_length, 1) !=
                                example.mask.begin() + options_.data.sequence_length;
      if (options_.data.on_too_long == "drop" || !keeps_target) {
        ++drops_[options_.data.on_too_long == "drop" ? "longer than data.sequence_length"
                                                     : "no target left after cutting to data.sequence_length"];
        return;
      }
      length = options_.data.sequence_length;
      ++num_truncated_;
    }
    if (samples_.empty()) first_ = example;
    samples_.push_back({content_.ids.size(), static_cast<uint32_t>(length), source_, num_records_});
    content_.ids.insert(content_.ids.end(), example.ids.begin(), example.ids.begin() + length);
    content_.mask.insert(content_.mask.end(), example.mask.begin(), example.mask.begin() + length);
  }

  void quarantine(const JsonLine& line, const std::string& reason) {
    bad_.push_back({options_.sources[source_].path, line.number, line.byte, reason});
    if (static_cast<int64_t>(bad_.size()) <= options_.data.max_bad_records) return;
    write_quarantine();
    core::fail(core::ExitCode::kBadInput, "{}: line {} (byte {}): {}; bad record number {}, data.max_bad_records is {}",
               options_.sources[source_].path, line.number, line.byte, reason, bad_.size(), options_.data.max_bad_records);
  }

  void write_quarantine() const {
    if (bad_.empty() || options_.quarantine.empty()) return;
    std::string lines;
    for (const BadRecord& record : bad_) {
      lines += ordered_json{{"file", record.file}, {"line", record.line}, {"byte", record.byte}, {"reason", record.reason}}.dump(
                   -1, ' ', false, ordered_json::error_handler_t::replace) + "\n";
    }
    core::make_directories(std::filesystem::path(options_.quarantine).parent_path().string());
    core::write_file_atomic(options_.quarantine, lines);
  }

  void pack() {
    content_.source_begin = {0};
    content_.packing.row_begin = {0};
    const auto capacity = static_cast<uint32_t>(options_.data.sequence_length);
    for (uint32_t source = 0; source < options_.sources.size(); ++source) {
      std::vector<Segment> mine;
      std::copy_if(samples_.begin(), samples_.end(), std::back_inserter(mine), [&](const Segment& s) { return s.source == source; });
      const bool documents = formats_[source] == "text";
      append(!options_.data.packing ? pack_single(mine) : documents ? pack_split(mine, capacity) : pack_best_fit(mine, capacity));
    }
  }

  void append(const Packing& packing) {
    Packing& all = content_.packing;
    const uint64_t before = all.segments.size();
    all.segments.insert(all.segments.end(), packing.segments.begin(), packing.segments.end());
    for (size_t row = 1; row < packing.row_begin.size(); ++row) all.row_begin.push_back(before + packing.row_begin[row]);
    content_.source_begin.push_back(all.row_begin.size() - 1);
  }

  ordered_json report() const {
    ordered_json drops = ordered_json::object();
    for (const auto& [reason, count] : drops_) drops[reason] = count;
    ordered_json sources = ordered_json::array();
    for (size_t i = 0; i < options_.sources.size(); ++i) sources.push_back({{"path", options_.sources[i].path}, {"format", formats_[i]}});
    return {{"sources", sources},
            {"records", num_records_},
            {"bad_records", bad_.size()},
            {"drops", drops},
            {"truncated", num_truncated_},
            {"sequences", content_.packing.row_begin.size() - 1},
            {"tokens", content_.ids.size()},
            {"target_tokens", std::count(content_.mask.begin(), content_.mask.end(), 1)},
            {"special_text_in_content", special_text_},
            {"example", {{"ids", first_.ids}, {"mask", first_.mask}}}};
  }

  const PrepareOptions& options_;
  ExampleBuilder builder_;
  TokenSetContent content_;
  std::vector<Segment> samples_;
  std::vector<BadRecord> bad_;
  std::map<std::string, int64_t> drops_;
  std::vector<std::string> formats_;
  std::string format_;
  Example first_;
  uint32_t source_ = 0;
  int64_t num_records_ = 0, num_truncated_ = 0, special_text_ = 0;
};

std::vector<double> weights(const std::vector<SourceOptions>& sources) {
  std::vector<double> result;
  for (const SourceOptions& source : sources) result.push_back(source.weight);
  return result;
}

}  // namespace

Dataset prepare(const PrepareOptions& options, const Tokenizer& tokenizer, bool* built) {
  const uint64_t key = cache_key(options, tokenizer);
  const std::string path = fmt::format("{}/tokens-{:016x}.phx", options.cache_dir, key);
  std::string why;
  auto tokens = TokenSet::open(path, key, why);
  if (built) *built = !tokens;
  if (!tokens) {
    Collector collector(options, tokenizer);
    for (uint32_t source = 0; source < options.sources.size(); ++source) collector.read(source);
    TokenSet::write(path, key, collector.finish());
    tokens = TokenSet::open(path, key, why);
    if (!tokens) core::fail(core::ExitCode::kStorage, "{}; the token cache cannot be read back", why);
  }
  return Dataset(std::move(*tokens), weights(options.sources));
}

std::string describe(const Dataset& dataset, const Tokenizer& tokenizer, const std::string& name) {
  const ordered_json& report = dataset.report();
  std::string text;
  for (const auto& source : report["sources"]) {
    text += fmt::format("{}: {} (format {})\n", name, source["path"].get<std::string>(), source["format"].get<std::string>());
  }
  text += fmt::format("{}: {} records, {} bad; {} sequences, {} tokens, {} of them targets", name, report["records"].get<int64_t>(),
                      report["bad_records"].get<int64_t>(), report["sequences"].get<int64_t>(), report["tokens"].get<int64_t>(),
                      report["target_tokens"].get<int64_t>());
  for (const auto& [reason, count] : report["drops"].items()) text += fmt::format("; {} dropped: {}", count.get<int64_t>(), reason);
  if (report["truncated"].get<int64_t>() > 0) text += fmt::format("; {} cut to data.sequence_length", report["truncated"].get<int64_t>());
  if (report["special_text_in_content"].get<int64_t>() > 0) {
    text += fmt::format("; {} with special-token text in their content (data.special_tokens_in_content)",
                        report["special_text_in_content"].get<int64_t>());
  }
  text += fmt::format("\n{}: first record, targets between [[ and ]]:\n", name);
  bool inside = false;
  std::string example;
  for (size_t i = 0; i < report["example"]["ids"].size(); ++i) {
    const bool target = report["example"]["mask"][i].get<int>() == 1;
    if (target != inside) example += target ? "[[" : "]]";
    inside = target;
    example += tokenizer.token_bytes(report["example"]["ids"][i].get<int32_t>());
  }
  if (inside) example += "]]";
  return text + "  | " + core::printable(example, 600);
}

}  // namespace phalanx::data
