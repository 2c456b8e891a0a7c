#pragma once
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <typeindex>
#include <utility>
#include <vector>

#include "core/config_field.h"
#include "core/error.h"

namespace phalanx::core {

/// One section of the run config, declared once by the folder that uses it.
struct Section {
  std::string name;
  std::string help;
  std::vector<Field> fields;
  bool is_optional;
  std::type_index type;
  std::function<std::shared_ptr<void>()> make;  ///< a new Options with its defaults
};

/// All of them, in the order in which they are printed and documented.
const std::vector<Section>& sections();
/// Always true. A name or an Options type that is registered already is our bug: the program ends before
/// main.
bool register_section(Section section);

/// Declares the section `name` of the run config; call it once, from the .cpp that owns `Options`:
///     const bool registered = core::register_section<LoraOptions>("lora", "Low-rank adapters.", [](auto& s)
///     {
///       s.field("r", &LoraOptions::r, {.help = "Rank of the update.", .min = 1});
///     });
template <typename Options>
bool register_section(std::string name, std::string help,
                      const std::function<void(SectionBuilder<Options>&)>& declare) {
  SectionBuilder<Options> builder;
  declare(builder);
  return register_section(Section{std::move(name), std::move(help), std::move(builder.fields),
                                  builder.is_optional, std::type_index(typeid(Options)), [] {
                                    return std::static_pointer_cast<void>(std::make_shared<Options>());
                                  }});
}

/// Everything that is wrong with a config, sorted by position: each line is "FILE:LINE:COLUMN: error:
/// message" (or
/// "--set KEY: error: message"). what() and report() are these lines joined by newlines.
class ConfigErrors : public Error {
 public:
  explicit ConfigErrors(std::vector<std::string> lines);
  const std::vector<std::string>& lines() const { return lines_; }
  std::string report() const override { return what(); }

 private:
  std::vector<std::string> lines_;
};

struct YamlNode;
struct Position;
struct Problem;

/// @param problems  not empty. @param sets  what positions with Position::set >= 0 refer to.
ConfigErrors errors_of(std::vector<Problem> problems, const std::string& file,
                       const std::vector<std::string>& sets);

/// A path that a config names and a run of it reads.
struct NamedPath {
  std::string key;  ///< "data.train[0].path"
  std::string path;
  PathOf of = PathOf::kFile;
};
/// Those of one Options object; `prefix` "data" makes "data.train[0].path".
std::vector<NamedPath> named_paths(const std::vector<Field>& fields, const std::string& prefix,
                                   const void* options);
/// Every key of one Options object, "method.beta" -> "0.1"; a secret is there as a hash.
std::map<std::string, std::string> values_by_key(const std::vector<Field>& fields, const std::string& prefix,
                                                 const void* options);

/// A checked run config: one Options object for each registered section, and where each value came from.
class Config {
 public:
  /// @param sets  "section.key=value" each, from --set; they replace what the file says. Values are YAML;
  /// into a string
  ///              key the text goes as it is. "section=null" removes a section.
  /// @throws ConfigErrors (78) with all errors at once.
  static Config load(const std::string& path, const std::vector<std::string>& sets = {});
  /// The text of a config file. @throws ConfigErrors (78).
  static std::string read(const std::string& path);
  static Config parse(const std::string& text, const std::string& name,
                      const std::vector<std::string>& sets = {});
  static Config defaults(const std::vector<std::string>& sets = {});
  /// From a tree that was cut out of a larger file, whose positions and --sets it has. What is wrong is added
  /// to `problems`; the config may be used only if nothing was.
  static Config from_tree(YamlNode root, std::string file, std::vector<std::string> sets,
                          std::vector<Problem>& problems);

  template <typename Options>
  const Options& get() const {
    return *static_cast<const Options*>(options_of(std::type_index(typeid(Options))));
  }
  bool has(std::string_view section) const;  ///< is the section in the file or in a --set?
  bool is_set(std::string_view key) const;   ///< "section.key" is written and not null
  /// "default", "FILE:LINE" or "--set" of a key such as "train.max_steps" or "data.train.0.path".
  std::string origin(std::string_view key) const;
  /// "FILE:LINE:COLUMN" of the key, or of the nearest thing around it that is written down.
  std::string position(std::string_view key) const;
  /// The resolved config as YAML that loads to the same values; with_origins adds a comment with the origin
  /// to every value. Secrets are masked.
  /// @param without  sections that are left out.
  std::string print(bool with_origins, const std::vector<std::string>& without = {}) const;
  std::map<std::string, std::string> values() const;  ///< values_by_key() of all sections, secrets as hashes
  std::vector<NamedPath> named_paths() const;         ///< of all sections
  const std::string& file() const { return file_; }   ///< empty for defaults()

 private:
  Config() = default;
  static Config build(YamlNode root, std::string file, const std::vector<std::string>& sets,
                      std::vector<Problem> problems);
  bool is_present(const Section& section) const { return !section.is_optional || has(section.name); }
  std::vector<std::string> bind_sections(
      std::vector<Problem>& problems);  ///< returns the sections with a wrong value
  void check_constraints(const std::vector<std::string>& wrong_sections,
                         std::vector<Problem>& problems) const;
  std::string place(const Position& position) const;
  const void* options_of(std::type_index type) const;

  std::string file_;
  std::vector<std::string> sets_;
  std::shared_ptr<const YamlNode> root_;
  std::map<std::string, std::shared_ptr<void>> options_;  // by section name
  mutable std::vector<std::string>* reads_ =
      nullptr;  // while a constraint runs: the sections that it asks for
};

/// What a constraint found: the key it concerns ("parallel.tp") and a message "parallel.tp is 3 but must ...;
/// try 1 or 2".
struct Violation {
  std::string key;
  std::string message;
};
using Constraint = std::function<void(const Config&, std::vector<Violation>&)>;

/// A check that needs more than one key. Constraints run after every key was parsed and are reported with all
/// other errors; one that reads a section with wrong values is skipped. `name` is for readers only.
bool add_constraint(std::string name, Constraint constraint);

std::string config_markdown();     ///< docs/config.md
std::string config_json_schema();  ///< docs/config.schema.json

}  // namespace phalanx::core
