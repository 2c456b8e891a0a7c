#pragma once
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "data/jinja_value.h"

namespace phalanx::data {

/// One training record in the one form that tokenising knows, whatever format it was written in.
struct Record {
  enum class Kind {
    kText,        ///< `text`
    kPair,        ///< `prompt`, `text` = its completion
    kChat,        ///< `messages`, `tools`, `num_prompt_messages`
    kTokens,      ///< `ids`, `mask`
    kPreference,  ///< `answers` = chosen, rejected: both kPair or both kChat, with one prompt; `margin`
    kUnpaired,    ///< `answers` = one kPair or kChat, `labels` = is it desirable?
    kStepwise,    ///< `prompt`, `steps`, `labels` = is the step right?
    kPrompt,  ///< `prompt` or `messages`, `tools`; `ground_truth`, `fields`: answers are sampled and judged
  };
  Kind kind = Kind::kText;
  std::string format;  ///< name of the format it was read as
  std::string prompt, text;
  jinja::Value messages;  ///< list of {"role", "content", ...}
  jinja::Value tools;     ///< list, or undefined
  size_t num_prompt_messages =
      0;  ///< so many first messages are the prompt of a conversational pair; no targets there
  std::vector<int32_t> ids;
  std::vector<uint8_t> mask;  ///< 1 where the token is a target
  std::vector<Record> answers;
  std::vector<std::string> steps;
  std::vector<bool> labels;
  jinja::Value ground_truth;  ///< what a verifier compares an answer with; undefined if the record has none
  jinja::Dict fields;         ///< of the record, all but the prompt: for verifiers
  double margin = 0;          ///< kPreference: by how much the chosen answer is better
};

/// Whether a message may hold targets: `weight` 1 or absent (OpenAI) and `train` true or absent (Axolotl).
/// check_messages() has looked at both.
bool is_learned(const jinja::Value& message);

/// What a record of this kind is, in words, and what it is for.
std::string_view describe(Record::Kind kind);

/// How records of one format are recognised and read. One file each: record_formats.h lists them.
struct RecordFormat {
  std::string name;                                 ///< value of data.train[].format
  std::string keys;                                 ///< for messages: what such a record has
  std::function<bool(const jinja::Dict&)> matches;  ///< do the keys say that it is one?
  std::function<Record(const jinja::Dict&)> read;   ///< @throws core::Error (65): what is wrong
};

const std::vector<RecordFormat>& record_formats();
std::vector<std::string> record_format_names();
/// A JSON value to a record. @param format  a name, or "auto": by the keys of this record.
/// @throws core::Error (65): what is wrong with the record, without its place.
Record read_record(const jinja::Value& value, const std::string& format);
/// One line of JSON to a record, likewise.
Record parse_record(std::string_view json, const std::string& format);

}  // namespace phalanx::data
