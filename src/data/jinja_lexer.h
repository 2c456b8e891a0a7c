#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace phalanx::data::jinja {

struct Token {
  enum class Kind {
    kData,
    kBlockBegin,
    kBlockEnd,
    kVariableBegin,
    kVariableEnd,
    kName,
    kString,
    kInteger,
    kFloat,
    kOperator,
    kEnd
  };
  Kind kind = Kind::kEnd;
  std::string text;  ///< the data, the name, the string's value, the operator
  int64_t integer = 0;
  double real = 0;
  int line = 1;
};

/// Cuts a template into tokens as jinja2 does with trim_blocks and lstrip_blocks on and keep_trailing_newline
/// off: comments and raw blocks are resolved, whitespace control ({%- -%} {%+ +%}) is applied, newlines
/// become \n. The last token is kEnd. TemplateError kSyntax or kArithmetic (an integer above int64).
std::vector<Token> tokenize(std::string_view source);

}  // namespace phalanx::data::jinja
