#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "core/config.h"
#include "data/data_options.h"
#include "data/example.h"
#include "data/record.h"
#include "data/sampler.h"
#include "data/tokenizer.h"

namespace phalanx::trainer {

/// A prompt that answers are sampled to.
struct Prompt {
  const data::Record* record;  ///< of kind kPrompt, in its PromptSet
  std::vector<int32_t> ids;
  std::string text;
  int64_t record_id;  ///< over all sources, from 0
};

/// All prompts of some sources: their records are in memory, their tokens are made when they are asked for.
class PromptSet {
 public:
  /// Reads the prompts that section `data` names; ranks share out the work of looking whether they can be
  /// used. Bad records (no prompt; more than `max_prompt_tokens`) go to quarantine.jsonl (rank 0) as far as
  /// data.max_bad_records allows. Collective over `group`.
  /// @throws core::Error (65) naming file and line, the same on every rank.
  PromptSet(const core::Config& config, const std::vector<data::SourceOptions>& sources,
            const data::Tokenizer& tokenizer, const std::string& chat_template, int64_t max_prompt_tokens,
            comm::Communicator& group);

  int64_t size() const { return static_cast<int64_t>(entries_.size()); }
  Prompt at(int64_t place) const;
  const std::vector<data::SourceRange>& ranges() const { return ranges_; }
  int64_t num_bad() const { return num_bad_; }

 private:
  struct Entry {
    data::Record record;
    int64_t record_id;
  };
  data::ExampleBuilder builder_;
  std::vector<Entry> entries_;
  std::vector<data::SourceRange> ranges_;
  int64_t num_bad_ = 0;
};

}  // namespace phalanx::trainer
