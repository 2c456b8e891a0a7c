#pragma once
#include <fmt/core.h>

#include <string>
#include <utility>

#include "core/error.h"

namespace phalanx::data {

/// What is wrong with a tokenizer file, or with a text that it was given.
enum class TokenizerErrorKind {
  kJson,    ///< not RFC 8259
  kSchema,  ///< a key is missing, has another type, or names something we do not have
  kVocab,
  kMerges,
  kRegex,  ///< a pattern outside the dialect that we share with the reference, or too costly on this text
  kAddedTokens,
  kPostProcessor,
  kDepth,
  kTooLarge,
  kText,  ///< text that cannot be encoded
};

class TokenizerError : public core::Error {
 public:
  TokenizerError(TokenizerErrorKind kind, const std::string& message)
      : Error(core::ExitCode::kBadInput, message), kind_(kind) {}
  TokenizerErrorKind kind() const { return kind_; }

 private:
  TokenizerErrorKind kind_;
};

template <typename... Args>
[[noreturn]] void fail_tokenizer(TokenizerErrorKind kind, fmt::format_string<Args...> format,
                                 Args&&... args) {
  throw TokenizerError(kind, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace phalanx::data
