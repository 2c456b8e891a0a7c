#include "core/config.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>

#include "core/config_bind.h"
#include "core/config_set.h"
#include "core/files.h"
#include "core/yaml_tree.h"

namespace phalanx::core {

namespace {

using Kind = YamlNode::Kind;

constexpr size_t kMaxLines = 50;  // of one report

/// Sections appear in this order; others follow in alphabetical order.
constexpr std::array<std::string_view, 13> kOrder = {
    "run",   "model",    "lora",       "data", "method", "optimizer", "schedule",
    "train", "parallel", "checkpoint", "log",  "eval",   "accounting"};

std::pair<size_t, std::string> order_of(const Section& section) {
  return {std::find(kOrder.begin(), kOrder.end(), section.name) - kOrder.begin(), section.name};
}

// Function-local: registration runs before main, in no particular order of files.
std::vector<Section>& section_registry() {
  static std::vector<Section> registry;
  return registry;
}

std::vector<Constraint>& constraint_registry() {
  static std::vector<Constraint> registry;
  return registry;
}

YamlNode empty_map() {
  return {.kind = Kind::kMap, .text = {}, .position = {}, .items = {}, .entries = {}};
}

/// Sorted by position, each message once.
void tidy(std::vector<Problem>& problems) {
  std::stable_sort(problems.begin(), problems.end(),
                   [](const Problem& a, const Problem& b) { return a.position < b.position; });
  const auto is_same = [](const Problem& a, const Problem& b) {
    return a.position == b.position && a.message == b.message;
  };
  problems.erase(std::unique(problems.begin(), problems.end(), is_same), problems.end());
}

std::string place_of(const Position& position, const std::string& file,
                     const std::vector<std::string>& sets) {
  if (position.set >= 0) {  // without the value, which may be a secret
    const std::string& assignment = sets[static_cast<size_t>(position.set)];
    return fmt::format("--set {}", printable(assignment.substr(0, assignment.find('='))));
  }
  return fmt::format("{}:{}:{}", file.empty() ? "(defaults)" : printable(file), position.line,
                     position.column);
}

}  // namespace

const std::vector<Section>& sections() {
  return section_registry();
}

bool register_section(Section section) {
  auto& registry = section_registry();
  for (const Section& other : registry) {
    if (other.name == section.name || other.type == section.type) {
      fail(ExitCode::kBug, "the config section {} is registered twice", section.name);
    }
  }
  const auto place = std::find_if(registry.begin(), registry.end(),
                                  [&](const Section& other) { return order_of(section) < order_of(other); });
  registry.insert(place, std::move(section));
  return true;
}

bool add_constraint(std::string, Constraint constraint) {
  constraint_registry().push_back(std::move(constraint));
  return true;
}

ConfigErrors::ConfigErrors(std::vector<std::string> lines)
    : Error(ExitCode::kBadConfig, fmt::format("{}", fmt::join(lines, "\n"))), lines_(std::move(lines)) {}

std::string Config::read(const std::string& path) {
  try {
    return read_file(path, YamlLimits::kMaxBytes);
  } catch (const Error& error) {
    std::string reason = error.what();  // "path: reason"
    const std::string prefix = printable(path) + ": ";
    if (reason.starts_with(prefix)) reason.erase(0, prefix.size());
    throw ConfigErrors({fmt::format("{}:1:1: error: {}", printable(path), reason)});
  }
}

Config Config::load(const std::string& path, const std::vector<std::string>& sets) {
  return parse(read(path), path, sets);
}

Config Config::parse(const std::string& text, const std::string& name, const std::vector<std::string>& sets) {
  std::vector<Problem> problems;
  YamlNode root = parse_yaml(text, -1, problems);
  return build(std::move(root), name, sets, std::move(problems));
}

Config Config::defaults(const std::vector<std::string>& sets) {
  return build(empty_map(), "", sets, {});
}

Config Config::build(YamlNode root, std::string file, const std::vector<std::string>& sets,
                     std::vector<Problem> problems) {
  if (root.kind == Kind::kNull) root = empty_map();
  YamlNode unreadable = empty_map();
  YamlNode& target = root.kind == Kind::kMap ? root : unreadable;
  for (size_t i = 0; i < sets.size(); ++i) apply_set(target, sets[i], int(i), problems);
  Config config = from_tree(std::move(root), file, sets, problems);
  if (!problems.empty()) throw errors_of(std::move(problems), file, sets);
  return config;
}

Config Config::from_tree(YamlNode root, std::string file, std::vector<std::string> sets,
                         std::vector<Problem>& problems) {
  Config config;
  config.file_ = std::move(file);
  config.sets_ = std::move(sets);
  const bool is_readable = root.kind == Kind::kMap || root.kind == Kind::kNull;
  if (!is_readable && root.kind != Kind::kInvalid) {
    problems.push_back({root.position, "a config is a map of sections, such as 'train: {max_steps: 100}'"});
  }
  if (root.kind != Kind::kMap) root = empty_map();
  config.root_ = std::make_shared<const YamlNode>(std::move(root));
  const std::vector<std::string> wrong_sections = config.bind_sections(problems);
  if (is_readable) config.check_constraints(wrong_sections, problems);
  return config;
}

ConfigErrors errors_of(std::vector<Problem> problems, const std::string& file,
                       const std::vector<std::string>& sets) {
  tidy(problems);
  std::vector<std::string> lines;
  for (const Problem& problem : problems) {
    if (lines.size() == kMaxLines) {
      lines.push_back(fmt::format("{}: error: {} more errors follow", place_of(problem.position, file, sets),
                                  problems.size() - kMaxLines));
      break;
    }
    lines.push_back(fmt::format("{}: error: {}", place_of(problem.position, file, sets), problem.message));
  }
  return ConfigErrors(std::move(lines));
}

std::vector<std::string> Config::bind_sections(std::vector<Problem>& problems) {
  std::vector<std::string> wrong;
  for (const Section& section : sections()) {
    const auto& options = options_[section.name] = section.make();
    const YamlEntry* entry = root_->find(section.name);
    if (entry == nullptr) continue;
    if (entry->value.kind == Kind::kMap) {
      if (bind_map(entry->value, section.fields, section.name, options.get(), problems)) continue;
    } else if (entry->value.kind == Kind::kNull) {
      problems.push_back(
          {entry->position, fmt::format("{} is empty; write '{}: {{}}' for its defaults or remove the line",
                                        section.name, section.name)});
    } else if (entry->value.kind != Kind::kInvalid) {
      problems.push_back({entry->value.position,
                          fmt::format("{} must be a map of keys, such as '{}: {{{}: ...}}'", section.name,
                                      section.name, section.fields.empty() ? "" : section.fields[0].name)});
    }
    wrong.push_back(section.name);
  }
  for (const YamlEntry& entry : root_->entries) {
    if (!options_.contains(entry.key))
      problems.push_back({entry.position, unknown_section_message(entry.key)});
  }
  return wrong;
}

void Config::check_constraints(const std::vector<std::string>& wrong_sections,
                               std::vector<Problem>& problems) const {
  for (const Constraint& constraint : constraint_registry()) {
    std::vector<std::string> reads;
    std::vector<Violation> violations;
    reads_ = &reads;
    constraint(*this, violations);
    reads_ = nullptr;
    const bool is_reliable = std::none_of(reads.begin(), reads.end(), [&](const std::string& section) {
      return std::find(wrong_sections.begin(), wrong_sections.end(), section) != wrong_sections.end();
    });
    if (!is_reliable) continue;
    for (const Violation& violation : violations) {
      problems.push_back({find_written(*root_, violation.key).nearest, violation.message});
    }
  }
}

const void* Config::options_of(std::type_index type) const {
  for (const Section& section : sections()) {
    if (section.type != type) continue;
    if (reads_ != nullptr) reads_->push_back(section.name);
    return options_.at(section.name).get();
  }
  fail(ExitCode::kBug, "no config section is registered for the type {}", type.name());
}

bool Config::has(std::string_view section) const {
  return root_->find(section) != nullptr;
}

bool Config::is_set(std::string_view key) const {
  if (reads_ != nullptr) reads_->emplace_back(key.substr(0, key.find('.')));
  const Written written = find_written(*root_, key);
  return written.is_exact && !written.is_null;
}

std::string Config::origin(std::string_view key) const {
  const Written written = find_written(*root_, key);
  if (!written.is_exact) return "default";
  return written.nearest.set >= 0 ? "--set" : fmt::format("{}:{}", printable(file_), written.nearest.line);
}

std::string Config::position(std::string_view key) const {
  return place(find_written(*root_, key).nearest);
}

std::string Config::place(const Position& position) const {
  return place_of(position, file_, sets_);
}

}  // namespace phalanx::core
