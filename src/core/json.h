#pragma once
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace phalanx::core {

/// Keeps the order of keys. Looking a key up is a linear search: iterate over large objects (a vocabulary)
/// instead.
using Json = nlohmann::ordered_json;

/// RFC 8259 and nothing more: UTF-8 without BOM, no comments, no NaN or Infinity, no duplicate key, no lone
/// surrogate, no control character in a string, no number beyond a double, nesting of at most 200. Integers
/// outside of int64 and uint64 become doubles.
/// @param name  what the text is, for messages: a path, or "FILE:LINE"
/// @throws Error (kBadInput) "name: byte 17: what was found"; bytes count from 0.
Json parse_json(std::string_view text, const std::string& name);

/// The file as JSON. @throws Error (kBadInput), also if it is larger than max_bytes.
Json read_json(const std::string& path, uint64_t max_bytes = 64 << 20);

/// One line without spaces for a negative `indent`, else indented. Doubles are the shortest text that reads
/// back to the same bits. NaN and infinity, which JSON cannot hold, become null.
/// @throws Error (kBug) if a string is not UTF-8.
std::string to_text(const Json& json, int indent = -1);

}  // namespace phalanx::core
