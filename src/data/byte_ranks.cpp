#include "data/byte_ranks.h"

#include <nlohmann/json.hpp>
#include <unordered_map>

#include "data/bpe_alphabet.h"
#include "data/tokenizer_error.h"

namespace phalanx::data {

namespace {

nlohmann::ordered_json byte_level() {
  return {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", false}};
}

}  // namespace

std::string byte_level_split(std::string_view pattern) {
  const nlohmann::ordered_json split = {
      {"type", "Split"}, {"pattern", {{"Regex", pattern}}}, {"behavior", "Isolated"}, {"invert", false}};
  const nlohmann::ordered_json chain = {{"type", "Sequence"}, {"pretokenizers", {split, byte_level()}}};
  return chain.dump();
}

void set_byte_ranks(TokenizerSpec& spec, const std::vector<std::string>& tokens, std::string_view pattern) {
  auto& model = spec.model.emplace<BpeModel>();
  model.ignore_merges = true;
  const auto first = static_cast<TokenId>(spec.tokens.size());
  std::unordered_map<std::string_view, TokenId> ids;
  ids.reserve(tokens.size());
  size_t num_bytes = 0;
  for (size_t rank = 0; rank < tokens.size(); ++rank) {
    const auto [found, is_new] = ids.emplace(tokens[rank], first + static_cast<TokenId>(rank));
    if (tokens[rank].empty() || !is_new) {
      fail_tokenizer(
          TokenizerErrorKind::kVocab, "{}: the token of rank {} {}", spec.source, rank,
          tokens[rank].empty() ? "is empty" : fmt::format("is that of rank {} too", found->second - first));
    }
    num_bytes += tokens[rank].size() == 1;
    spec.tokens.push_back(to_byte_level(tokens[rank]));
  }
  if (num_bytes != 256) {
    fail_tokenizer(TokenizerErrorKind::kVocab, "{}: {} of the 256 bytes are tokens; all must be", spec.source,
                   num_bytes);
  }
  spec.first_model_token = first;
  spec.num_model_tokens = static_cast<int64_t>(spec.tokens.size());
  for (size_t rank = 0; rank < tokens.size(); ++rank) {
    const std::string_view token = tokens[rank];
    for (size_t length = 1; length < token.size(); ++length) {
      const auto left = ids.find(token.substr(0, length));
      const auto right = ids.find(token.substr(length));
      if (left == ids.end() || right == ids.end()) continue;
      model.merges.push_back(
          {left->second, right->second, first + static_cast<TokenId>(rank), static_cast<uint32_t>(rank)});
    }
  }
  spec.pre_tokenizer = byte_level_split(pattern);
  spec.decoder = byte_level().dump();
}

}  // namespace phalanx::data
