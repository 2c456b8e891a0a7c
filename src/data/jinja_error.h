#pragma once
#include <string>

#include "core/error.h"

namespace phalanx::data::jinja {

enum class ErrorKind {
  kSyntax,       ///< the source is not a template of the supported language
  kUnsupported,  ///< Jinja that is not part of the subset (include, import, %-format, ...)
  kDepth,        ///< nested deeper than the limit
  kSteps,        ///< more evaluation steps than the limit
  kOutput,       ///< more text than the limit, printed or built
  kArithmetic,   ///< int64 overflow, division by zero
  kAttribute,    ///< underscore attribute, or a method that templates may not call
  kUndefined,    ///< use of an undefined value
  kType,         ///< an operation on values of the wrong type
  kRaised,       ///< the template called raise_exception
};

/// An error of a template, exit code 65. what() is "chat template, line N: ...".
class TemplateError : public core::Error {
 public:
  TemplateError(ErrorKind kind, const std::string& message)
      : core::Error(core::ExitCode::kBadInput, message), kind_(kind) {}
  ErrorKind kind() const { return kind_; }

 private:
  ErrorKind kind_;
};

template <typename... Args>
[[noreturn]] void fail(ErrorKind kind, fmt::format_string<Args...> format, Args&&... args) {
  throw TemplateError(kind, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace phalanx::data::jinja
