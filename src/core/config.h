#pragma once
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <typeindex>
#include <variant>
#include <vector>

namespace phalanx::core {

/// Everything that parsing, errors, --help, docs/config.md and the JSON schema need to know about one key.
/// The default is the member's own initialiser.
struct FieldSpec {
  std::string help;                 ///< one sentence
  std::string unit = {};            ///< "tokens", "steps", "s", ...
  std::optional<double> min = {};   ///< inclusive
  std::optional<double> max = {};   ///< inclusive
  bool above_min = false;           ///< `min` itself is not allowed
  std::vector<std::string> one_of = {};
};

class SectionBase;  // type-erased section, in config.cpp / config_fields.h

/// Declares the keys of one section; `Options` is a plain struct whose members carry the defaults.
/// Member types: bool, int64_t, double, std::string, std::vector<double>, std::vector<std::string>, std::optional of
/// bool/int64_t/double/std::string, and std::vector<Sub> for lists of maps (with an own SectionBuilder<Sub>).
template <typename Options>
class SectionBuilder;

