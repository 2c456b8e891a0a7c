#pragma once
#include <string>
#include <string_view>

#include "data/jinja_value.h"

namespace phalanx::data {

inline constexpr int kMaxJsonDepth = 64;

/// Why a text is not strict JSON. The parser is fast and does not know where; core::parse_json does.
struct JsonProblem {
  std::string reason;
};

/// RFC 8259 text to a Value with the order of keys kept. Integers are int64, everything else double.
/// Returns false and fills `problem` for anything that is not strict JSON: duplicate keys, lone surrogates,
/// invalid UTF-8, NaN, numbers outside int64 and double, deeper than kMaxJsonDepth. Thread-safe; parsers are
/// kept per thread.
bool parse_json(std::string_view text, jinja::Value* value, JsonProblem* problem);

/// As above. @throws core::Error kBadInput: "`what`: <reason>".
jinja::Value parse_json_or_fail(std::string_view text, std::string_view what);

/// As above, for one record of a file. @throws core::Error kBadInput: "not valid JSON ..." with the place.
jinja::Value parse_record_json(std::string_view text);

}  // namespace phalanx::data
