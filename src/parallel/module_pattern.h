#pragma once
#include <string>

namespace phalanx::parallel {

/// Whether a dotted module path fits a pattern of a sharding plan: "*" is one part of the path, "{a,b}" one
/// of these words inside a part: "model.layers.*.self_attn.{q,k,v}_proj".
bool matches(const std::string& pattern, const std::string& path);

}  // namespace phalanx::parallel
