#pragma once
#include <cstddef>
#include <string>
#include <string_view>

#include "data/tokenizer_json_value.h"

namespace phalanx::data {

/// A name that "type" may have in a part of tokenizer.json, and what reads it into a chain.
template <typename Chain>
struct JsonKind {
  std::string_view name;
  void (*add)(const JsonValue& value, Chain& chain);
};

inline constexpr size_t kMaxChain = 100;  ///< the longest that are known have 10

/// @throws TokenizerError kSchema for a type that none of `kinds` has, kTooLarge for a chain of too many.
template <typename Chain, size_t kCount>
void add_kind(const JsonValue& value, const JsonKind<Chain> (&kinds)[kCount], Chain& chain) {
  if (chain.size() >= kMaxChain)
    value.fail(TokenizerErrorKind::kTooLarge, "there are more than {} of them in a row", kMaxChain);
  std::string known;
  for (const JsonKind<Chain>& kind : kinds) {
    if (value.type() == kind.name) return kind.add(value, chain);
    known += fmt::format("{}, ", kind.name);
  }
  value.fail(TokenizerErrorKind::kSchema, "type {} is not supported; supported: {}Sequence",
             core::printable(value.type(), 40), known);
}

/// Calls visit for `value`, or for its parts where it is a Sequence, however deep.
template <typename Visit>
void for_each_in_sequence(const JsonValue& value, std::string_view list_key, Visit&& visit) {
  if (value.type() != "Sequence") return visit(value);
  value.allow_keys({"type", list_key});
  for (const JsonValue& part : value.at(list_key).items()) for_each_in_sequence(part, list_key, visit);
}

}  // namespace phalanx::data
