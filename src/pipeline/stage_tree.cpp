#include "pipeline/stage_tree.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "core/suggest.h"

namespace phalanx::pipeline {
namespace {

using core::YamlEntry;
using core::YamlNode;
using Kind = YamlNode::Kind;

bool contains(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

bool is_known_key(const std::string& section, const std::string& key) {
  for (const core::Section& known : core::sections()) {
    if (known.name != section) continue;
    return std::any_of(known.fields.begin(), known.fields.end(),
                       [&](const core::Field& field) { return field.name == key; });
  }
  return false;
}

void lay_over(YamlNode& base, const YamlNode& over) {
  for (const YamlEntry& entry : over.entries) {
    const auto place = std::find_if(base.entries.begin(), base.entries.end(),
                                    [&](const YamlEntry& other) { return other.key == entry.key; });
    if (place == base.entries.end()) {
      base.entries.push_back(entry);
      continue;
    }
    const bool are_maps = place->value.kind == Kind::kMap && entry.value.kind == Kind::kMap &&
                          !is_reference(place->value) && !is_reference(entry.value);
    place->position = entry.position;
    if (are_maps) {
      place->value.position = entry.value.position;
      lay_over(place->value, entry.value);
    } else {
      place->value = entry.value;
    }
  }
}

std::vector<std::string> section_names(const StageKind& kind) {
  std::vector<std::string> names;
  for (const core::Section& section : core::sections()) {
    if (reads(kind, section.name)) names.push_back(section.name);
  }
  return names;
}

/// Keys that there are, but not for this kind. (Those that there are not are found when the config is made.)
void check_section(const YamlEntry& section, const StageKind& kind, const std::string& stage,
                   std::vector<core::Problem>& problems) {
  for (const YamlEntry& entry : section.value.entries) {
    if (reads(kind, section.key + "." + entry.key)) continue;
    std::vector<std::string> known;
    for (const std::string& read : kind.reads) {
      if (read.starts_with(section.key + ".")) known.push_back(read);
    }
    problems.push_back(
        {entry.position, fmt::format("stage {} of kind {} does not read {}.{}; it reads {}", stage, kind.name,
                                     section.key, core::printable(entry.key, 60), fmt::join(known, ", "))});
  }
}

void check_keys(const YamlNode& written, const StageKind& kind, const std::string& stage,
                std::vector<core::Problem>& problems) {
  std::vector<std::string> known = {"kind"};
  for (const core::Field& field : kind.keys) known.push_back(field.name);
  const std::vector<std::string> sections = section_names(kind);
  std::vector<std::string> candidates = known;
  candidates.insert(candidates.end(), sections.begin(), sections.end());
  for (const YamlEntry& entry : written.entries) {
    if (contains(candidates, entry.key)) {
      if (is_section(entry.key)) check_section(entry, kind, stage, problems);
      continue;
    }
    const auto near = core::nearest(entry.key, candidates);
    problems.push_back(
        {entry.position, fmt::format("stage {} of kind {} does not read {}{} Its keys: {}; its sections: {}",
                                     stage, kind.name, core::printable(entry.key, 60),
                                     near ? fmt::format("; did you mean {}?", *near) : ".",
                                     fmt::join(known, ", "), fmt::join(sections, ", "))});
  }
}

}  // namespace

YamlNode stage_tree(const YamlNode& written, const YamlNode& defaults, const StageKind& kind,
                    const std::string& stage, std::vector<core::Problem>& problems) {
  check_keys(written, kind, stage, problems);
  YamlNode tree{.kind = Kind::kMap, .text = {}, .position = written.position, .items = {}, .entries = {}};
  for (const YamlEntry& entry : defaults.entries) {
    if (!reads(kind, entry.key) || contains(kind.own_only, entry.key)) continue;
    tree.entries.push_back(entry);
    std::erase_if(tree.entries.back().value.entries, [&](const YamlEntry& key) {
      return is_known_key(entry.key, key.key) && !reads(kind, entry.key + "." + key.key);
    });
  }
  lay_over(tree, written);
  std::erase_if(tree.entries, [&](const YamlEntry& entry) {
    const bool is_left_out = entry.value.kind == Kind::kNull && defaults.find(entry.key) != nullptr;
    const bool is_known = entry.key == "kind" || reads(kind, entry.key) ||
                          std::any_of(kind.keys.begin(), kind.keys.end(),
                                      [&](const core::Field& field) { return field.name == entry.key; });
    return is_left_out || !is_known;
  });
  return tree;
}

}  // namespace phalanx::pipeline
