#pragma once
#include <string>

#include "data/tokenizer_spec.h"

namespace phalanx::data {

/// Completes `spec` with what stands beside tokenizer.json in `folder`, and keeps the bytes of all tokenizer
/// files:
///  - special tokens from tokenizer_config.json, else special_tokens_map.json, else generation_config.json;
///  - BOS and EOS where tokenizer_config.json has add_bos_token or add_eos_token: as transformers 5, these
///  override the
///    post-processor of tokenizer.json;
///  - the chat template from chat_template.jinja, else tokenizer_config.json (a string, or a list with a
///  "default");
///  - stop ids: eos, eos_token_id of generation_config.json (a number or a list), and the template's turn
///  ends.
/// @throws TokenizerError for a special token that the vocabulary lacks.
void read_tokenizer_config(const std::string& folder, TokenizerSpec& spec);

/// eos, `more`, and <|im_end|>, <|eot_id|> and <|eot|> where they are special tokens; each once, in this
/// order.
std::vector<TokenId> collect_stop_ids(const TokenizerSpec& spec, const std::vector<TokenId>& more);

/// The bytes of a file of at most 256 MiB. @throws TokenizerError
std::string read_tokenizer_file(const std::string& path);

}  // namespace phalanx::data
