#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "core/config.h"
#include "data/data_options.h"
#include "data/record.h"
#include "data/sampler.h"
#include "data/tokenizer.h"

namespace phalanx::trainer {

/// A prompt that answers are sampled to.
struct Prompt {
  data::Record record;  ///< of kind kPrompt
  std::vector<int32_t> ids;
  std::string text;
  int64_t record_id = 0;  ///< over all sources, from 0
};

/// All prompts of some sources, in memory.
struct PromptSet {
  std::vector<Prompt> prompts;
  std::vector<data::SourceRange> ranges;
  int64_t num_bad = 0;
};

/// Reads the prompts that section `data` names. Bad records (no prompt; more than `max_prompt_tokens`) go to
/// quarantine.jsonl as far as data.max_bad_records allows.
/// @throws core::Error (65) naming file and line.
PromptSet read_prompts(const core::Config& config, const std::vector<data::SourceOptions>& sources,
                       const data::Tokenizer& tokenizer, const std::string& chat_template,
                       int64_t max_prompt_tokens, bool writes_quarantine);

}  // namespace phalanx::trainer
