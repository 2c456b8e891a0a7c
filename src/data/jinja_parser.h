#pragma once
#include <string_view>

#include "data/jinja_ast.h"

namespace phalanx::data::jinja {

inline constexpr size_t kMaxSourceBytes = size_t{1} << 20;
inline constexpr int kMaxNesting = 100;  ///< blocks and brackets inside one another

/// Parses the source of a template. TemplateError kSyntax, kUnsupported, kDepth; the message begins "line N:
/// ".
Program parse(std::string_view source);

}  // namespace phalanx::data::jinja
