#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "data/example.h"
#include "data/prepare.h"
#include "data/quarantine.h"
#include "data/record_reader.h"
#include "data/token_set.h"

namespace phalanx::data {

/// Reads sources into a token set: records to tokens on all cores, in the order of the file, then
/// rows. Counts what became of every record: `records` = bad ones + drops by reason + samples.
class TokenSetBuilder {
 public:
  /// `options` and `tokenizer` must outlive it.
  TokenSetBuilder(const PrepareOptions& options, const Tokenizer& tokenizer);

  /// Source `index` of options.sources; call it for each, in order.
  /// @throws core::Error (65) for one bad record more than data.max_bad_records, or one too long with
  /// on_too_long: error.
  void read(size_t index);
  /// @throws core::Error (65) if there is no sample at all.
  TokenSetContent finish();
  const std::vector<BadRecord>& bad_records() const { return bad_; }

 private:
  void add(const std::vector<RawRecord>& records);
  void add(const RawRecord& record, RecordSamples& made);
  bool fits(const RawRecord& record, RecordSamples& made);
  bool cut(Example& example);
  void detect_format(const std::vector<RawRecord>& records);
  void reject(const RawRecord& record, const std::string& reason);
  const std::string& path() const { return options_.sources[source_].path; }
  void pack();
  void append(const Packing& packing);
  int64_t count_targets() const;
  nlohmann::ordered_json report() const;
  [[noreturn]] void fail_empty() const;

  const PrepareOptions& options_;
  MakeSamples make_samples_;
  TokenSetContent content_;
  std::vector<Segment> samples_;
  std::vector<BadRecord> bad_;
  std::map<std::string, int64_t> drops_;
  std::unique_ptr<RecordReader> reader_;           // of the source being read
  std::vector<std::string> formats_, containers_;  // of each source read
  std::string format_;                             // of the one being read
  Example first_;
  size_t source_ = 0;
  int64_t num_records_ = 0, num_truncated_ = 0, num_special_ = 0, num_straddling_ = 0;
};

}  // namespace phalanx::data
