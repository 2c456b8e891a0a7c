#include "core/config_set.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <optional>

#include "core/config.h"
#include "core/scalar.h"

namespace phalanx::core {

namespace {

using Kind = YamlNode::Kind;

/// "data.train[0].path" -> data, train, 0, path.
std::vector<std::string> split_key(std::string_view key) {
  std::string dotted;
  for (const char c : key) {
    if (c == '[') dotted += '.';
    if (c != '[' && c != ']') dotted += c;
  }
  std::vector<std::string> parts;
  size_t start = 0;
  while (start <= dotted.size()) {
    const size_t end = std::min(dotted.find('.', start), dotted.size());
    parts.push_back(dotted.substr(start, end - start));
    start = end + 1;
  }
  return parts;
}

std::optional<size_t> parse_index(const std::string& text) {
  size_t index = 0;
  const auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), index);
  if (status != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return index;
}

/// The declared key at this path; nullptr for a section, an index or an unknown key.
const Field* find_field(const std::vector<std::string>& parts) {
  const auto section = std::find_if(sections().begin(), sections().end(),
                                    [&](const Section& s) { return s.name == parts[0]; });
  if (section == sections().end()) return nullptr;
  const std::vector<Field>* fields = &section->fields;
  const Field* field = nullptr;
  for (size_t i = 1; i < parts.size(); ++i) {
    if (field != nullptr && parse_index(parts[i])) continue;
    const auto place =
        std::find_if(fields->begin(), fields->end(), [&](const Field& f) { return f.name == parts[i]; });
    if (place == fields->end()) return nullptr;
    field = &*place;
    fields = &field->item_fields;
  }
  return field;
}

/// Text for a string key is taken as it is, so that the shell's quotes are enough: --set run.name=2024.
bool is_raw_text(const Field* field, std::string_view value) {
  if (field == nullptr || value.starts_with('"') || value.starts_with('\'')) return false;
  if (field->nullable && classify_scalar(value) == ScalarKind::kNull) return false;
  const bool is_list_of_one =
      field->kind == FieldKind::kStrings && field->spec.one_or_many && !value.starts_with('[');
  return field->kind == FieldKind::kString || is_list_of_one;
}

YamlNode parse_value(const Field* field, std::string_view value, int set, std::vector<Problem>& problems) {
  YamlNode raw{.kind = Kind::kScalar,
               .quoted = true,
               .text = std::string(value),
               .position = {set, 0, 0},
               .items = {},
               .entries = {}};
  if (!is_raw_text(field, value)) {  // as the value of a key, where YAML's own messages are the clearest
    YamlNode map = parse_yaml(fmt::format("value: {}", value), set, problems);
    if (map.kind == Kind::kMap && map.entries.size() == 1) return std::move(map.entries[0].value);
    if (map.kind != Kind::kInvalid) problems.push_back({{set, 0, 0}, "the value is not one YAML value"});
    raw.kind = Kind::kInvalid;
    return raw;
  }
  if (printable(value, value.size() + 8) == value) return raw;
  problems.push_back({{set, 0, 0}, "the value has control characters or is not UTF-8"});
  raw.kind = Kind::kInvalid;
  return raw;
}

/// The entry `name` of a map, made if it is not there.
YamlEntry& entry_of(YamlNode& map, const std::string& name, const Position& position) {
  const auto place =
      std::find_if(map.entries.begin(), map.entries.end(), [&](const YamlEntry& e) { return e.key == name; });
  if (place != map.entries.end()) return *place;
  map.entries.push_back({name, position, {}});
  return map.entries.back();
}

/// Walks down to the node of `parts`, making maps on the way; nullptr after a problem.
YamlNode* reach(YamlNode& root, const std::vector<std::string>& parts, const Position& position,
                std::vector<Problem>& problems) {
  YamlNode* node = &root;
  std::string path;
  for (size_t i = 0; i < parts.size(); ++i) {
    if (node->kind == Kind::kInvalid) return nullptr;
    if (node->kind == Kind::kSequence) {
      const auto index = parse_index(parts[i]);
      if (!index || *index >= node->items.size()) {
        problems.push_back({position, fmt::format("{} has {} elements, counted from 0; there is no {}", path,
                                                  node->items.size(), parts[i])});
        return nullptr;
      }
      node = &node->items[*index];
    } else if (node->kind == Kind::kScalar) {
      problems.push_back({position, fmt::format("{} is a single value, it has no {}", path, parts[i])});
      return nullptr;
    } else {
      node->kind = Kind::kMap;
      YamlEntry& entry = entry_of(*node, parts[i], position);
      if (i + 1 == parts.size()) entry.position = position;
      node = &entry.value;
    }
    path += (i == 0 ? "" : ".") + parts[i];
  }
  return node;
}

}  // namespace

void apply_set(YamlNode& root, std::string_view assignment, int set, std::vector<Problem>& problems) {
  const Position position{set, 0, 0};
  const size_t equals = assignment.find('=');
  const std::vector<std::string> parts = split_key(assignment.substr(0, equals));
  const bool has_empty_part = std::find(parts.begin(), parts.end(), "") != parts.end();
  if (equals == std::string_view::npos || has_empty_part) {
    problems.push_back(
        {position, "is not an assignment; write section.key=value, such as train.max_steps=100"});
    return;
  }
  YamlNode value = parse_value(find_field(parts), assignment.substr(equals + 1), set, problems);
  if (parts.size() == 1 && value.kind == Kind::kNull) {
    std::erase_if(root.entries, [&](const YamlEntry& entry) { return entry.key == parts[0]; });
    return;
  }
  if (YamlNode* node = reach(root, parts, position, problems)) *node = std::move(value);
}

Written find_written(const YamlNode& root, std::string_view key) {
  Written written{root.position, false};
  const YamlNode* node = &root;
  for (const std::string& part : split_key(key)) {
    if (node->kind == Kind::kSequence) {
      const auto index = parse_index(part);
      if (!index || *index >= node->items.size()) return written;
      node = &node->items[*index];
      written.nearest = node->position;
      continue;
    }
    const YamlEntry* entry = node->find(part);
    if (entry == nullptr) return written;
    written.nearest = entry->position;
    node = &entry->value;
  }
  written.is_exact = true;
  written.is_null = node->kind == Kind::kNull;
  return written;
}

}  // namespace phalanx::core
