#pragma once
#include <array>
#include <optional>
#include <string>
#include <vector>

#include "core/json.h"

namespace phalanx::label {

/// One question: which of two answers to a prompt is better?
struct AnswerPair {
  std::string id;                     ///< hash of prompt and answers: the same in any file and order
  core::Json prompt;                  ///< text, or a list of messages
  std::array<core::Json, 2> answers;  ///< each text, or a list of messages
  core::Json tools;                   ///< list, or null
  std::optional<double> margin;       ///< a judge's score of the first answer less that of the second
};

struct PairOptions {
  std::vector<std::string> answer_fields;  ///< two fields with an answer each; empty: by the record's keys
  std::string prompt_field = "prompt";     ///< beside answer_fields and "completions"
  bool needs_margin = false;
  std::string
      score_field;  ///< a number (the margin), or a list with a score for each answer; empty: see below
};

struct PairFile {
  std::vector<AnswerPair> pairs;
  int64_t num_records = 0;
  int64_t num_equal = 0;  ///< left out: both answers are the same
  int64_t num_repeated =
      0;  ///< left out: the same question stood there before, perhaps with its answers the other way round
};

/// The questions of a file of records (data/record_reader.h). A record is
///  - any preference that training reads ("chosen" and "rejected", also of ShareGPT and Alpaca);
///  - {"prompt", "completions": [answer, ...]}: every two of them are a question;
///  - with `answer_fields`: the prompt's field and these two.
/// Prompts and answers are text or lists of messages; "messages" is taken where the prompt's field is absent.
/// Margins come from `score_field`, else from "margin", "scores" or "score_chosen" and "score_rejected".
/// @throws core::Error (65) naming file, line and byte of a record that is none of these; for a file with no
/// question; with needs_margin for a record without scores.
PairFile read_pairs(const std::string& path, const PairOptions& options);

}  // namespace phalanx::label
