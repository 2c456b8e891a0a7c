#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "data/jinja_value.h"

namespace phalanx::data {

/// One record: a JSON object that has the fields of its format.
///   messages           {"messages": [{"role", "content"}, ...], "tools"?}   ("conversations" with role/content too)
///   prompt_completion  {"prompt", "completion"}: both text, or both lists of messages
///   text               {"text"}
struct Record {
  std::string format;
  jinja::Value value;
};

/// The format whose fields `object` has. @throws core::Error (65) listing the keys found and the formats known.
std::string detect_format(const jinja::Value& object);

/// Checks one line against a format. @throws core::Error (65): what is wrong with the record, without its place.
Record parse_record(std::string_view json, const std::string& format);

std::vector<std::string> record_formats();

}  // namespace phalanx::data
