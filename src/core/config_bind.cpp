#include "core/config_bind.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "core/scalar.h"
#include "core/suggest.h"

namespace phalanx::core {

namespace {

using Kind = YamlNode::Kind;
/// A value, or why the node is none ("is not a number").
struct Parsed {
  Value value = {};
  std::string reason = {};  // empty: the value is good
};

Parsed rejected(std::string reason) {
  return {.reason = std::move(reason)};
}
Parsed accepted(Value value) {
  return {.value = std::move(value)};
}

std::string range_text(const FieldSpec& spec) {
  const auto bound = [](double value) { return fmt::format("{}", value); };
  const std::string low = spec.min ? fmt::format("{} {}", spec.above_min ? ">" : ">=", bound(*spec.min)) : "";
  const std::string high = spec.max ? fmt::format("<= {}", bound(*spec.max)) : "";
  if (low.empty() || high.empty()) return low + high;
  return low + " and " + high;
}

std::string shown(const YamlNode& node) {
  switch (node.kind) {
    case Kind::kNull:
      return "null";
    case Kind::kSequence:
      return "a list";
    case Kind::kMap:
      return "a map";
    default:
      return node.quoted ? fmt::format("\"{}\"", printable(node.text, 80)) : printable(node.text, 80);
  }
}

std::string one_of_hint(const std::string& text, const FieldSpec& spec) {
  const auto near = nearest(text, spec.one_of);
  return near ? fmt::format("is none of the allowed; did you mean {}?", *near) : "is none of the allowed";
}

std::string check_range(double value, const FieldSpec& spec) {
  const bool is_low = spec.min && (spec.above_min ? value <= *spec.min : value < *spec.min);
  if (is_low) return "is too small";
  return spec.max && value > *spec.max ? "is too large" : "";
}

Parsed parse_bool(const YamlNode& node) {
  if (node.quoted) return rejected("is text; remove the quotes");
  if (classify_scalar(node.text) == ScalarKind::kBool) {
    return accepted(node.text[0] == 't' || node.text[0] == 'T');
  }
  return rejected("is not a boolean");
}

template <typename Number>
Parsed in_range(const std::variant<Number, std::string>& parsed, const FieldSpec& spec) {
  if (const auto* reason = std::get_if<std::string>(&parsed)) return rejected(*reason);
  const Number number = std::get<Number>(parsed);
  const std::string reason = check_range(static_cast<double>(number), spec);
  if (!reason.empty()) return rejected(reason);
  return accepted(number);
}

Parsed parse_string(const YamlNode& node, const FieldSpec& spec) {
  if (!node.quoted && classify_scalar(node.text) != ScalarKind::kString) {
    return rejected(fmt::format("is not text in YAML; if it is meant as text, write \"{}\" in quotes",
                                printable(node.text, 60)));
  }
  if (node.text.find('\0') != std::string::npos) return rejected("has a NUL character; remove it");
  const bool is_known = spec.one_of.empty() ||
                        std::find(spec.one_of.begin(), spec.one_of.end(), node.text) != spec.one_of.end();
  if (!is_known) return rejected(one_of_hint(node.text, spec));
  const size_t variable = node.text.find("${");
  const bool names_variable =
      variable != std::string::npos && variable + 2 < node.text.size() &&
      (std::isalpha(static_cast<unsigned char>(node.text[variable + 2])) || node.text[variable + 2] == '_');
  if (names_variable) return rejected("has a variable, which is not expanded; write its value");
  if (node.text == "~" || node.text.starts_with("~/"))
    return rejected("has a ~, which is not expanded; write the whole path");
  return accepted(node.text);
}

Parsed parse_scalar(const YamlNode& node, FieldKind kind, const FieldSpec& spec) {
  if (node.kind == Kind::kNull) return rejected("is not a value");
  if (node.kind != Kind::kScalar) return rejected("is not a single value");
  if (kind == FieldKind::kString || kind == FieldKind::kStrings) return parse_string(node, spec);
  if (kind == FieldKind::kBool) return parse_bool(node);
  if (node.quoted) return rejected("is text; remove the quotes");
  return kind == FieldKind::kInteger || kind == FieldKind::kIntegersByName
             ? in_range(parse_integer(node.text), spec)
             : in_range(parse_number(node.text), spec);
}

/// What one element of a list or a map must be, for messages.
Field element_of(const Field& list) {
  const FieldKind kind = list.kind == FieldKind::kIntegersByName ? FieldKind::kInteger
                         : list.kind == FieldKind::kStrings      ? FieldKind::kString
                                                                 : FieldKind::kNumber;
  return {.name = list.name, .spec = list.spec, .kind = kind, .set = {}, .get = {}};
}

/// "lora.r" for "r" if some section has such a key.
std::optional<std::string> key_elsewhere(const std::string& name) {
  for (const Section& section : sections()) {
    for (const Field& field : section.fields) {
      if (field.name == name) return section.name + "." + name;
    }
  }
  return std::nullopt;
}

/// The end of "unknown key X": what was probably meant.
std::string advice(const std::string& name, const std::vector<std::string>& known) {
  if (const auto peer = our_name_of(name)) return fmt::format("; here it is {}.", *peer);
  if (const auto elsewhere = key_elsewhere(name)) return fmt::format("; did you mean {}?", *elsewhere);
  if (const auto near = nearest(name, known)) return fmt::format("; did you mean {}?", *near);
  return ".";
}

class Binder {
 public:
  explicit Binder(std::vector<Problem>& problems) : problems_(problems) {}

  bool bind_map(const YamlNode& map, const std::vector<Field>& fields, const std::string& prefix,
                void* options) {
    bool is_complete = true;
    for (const YamlEntry& entry : map.entries) {
      const auto field =
          std::find_if(fields.begin(), fields.end(), [&](const Field& f) { return f.name == entry.key; });
      if (field == fields.end()) {
        report_unknown_key(entry, fields, prefix);
      } else if (!bind_field(entry.value, *field, prefix + "." + field->name, options)) {
        is_complete = false;
      }
    }
    for (const Field& field : fields) {
      if (!field.spec.required_in_item || map.find(field.name) != nullptr) continue;
      report(map.position,
             fmt::format("{} has no {}; add {}: {}", prefix, field.name, field.name, expectation(field)));
      is_complete = false;
    }
    return is_complete;
  }

 private:
  bool bind_field(const YamlNode& node, const Field& field, const std::string& path, void* options) {
    if (node.kind == Kind::kInvalid) return false;
    if (field.kind == FieldKind::kMaps) return bind_items(node, field, path, options);
    if (node.kind == Kind::kNull && field.nullable) {
      field.set(options, Value());
      return true;
    }
    if (field.kind == FieldKind::kNumbers) return bind_list<double>(node, field, path, options);
    if (field.kind == FieldKind::kStrings) return bind_list<std::string>(node, field, path, options);
    if (field.kind == FieldKind::kIntegersByName) return bind_names<int64_t>(node, field, path, options);
    if (field.kind == FieldKind::kNumbersByName) return bind_names<double>(node, field, path, options);
    const Parsed parsed = parse_scalar(node, field.kind, field.spec);
    if (!parsed.reason.empty()) return reject(node, field, path, parsed.reason);
    field.set(options, parsed.value);
    return true;
  }

  template <typename Number>
  bool bind_names(const YamlNode& node, const Field& field, const std::string& path, void* options) {
    if (node.kind != Kind::kMap) return reject(node, field, path, "is not a map");
    std::map<std::string, Number> values;
    for (const YamlEntry& entry : node.entries) {
      if (entry.value.kind == Kind::kInvalid) continue;
      const Parsed parsed = parse_scalar(entry.value, field.kind, field.spec);
      if (!parsed.reason.empty()) {
        reject(entry.value, element_of(field), fmt::format("{}.{}", path, printable(entry.key, 60)),
               parsed.reason);
      } else {
        values[entry.key] = std::get<Number>(parsed.value);
      }
    }
    if (values.size() != node.entries.size()) return false;
    field.set(options, Value(std::move(values)));
    return true;
  }

  template <typename Element>
  bool bind_list(const YamlNode& node, const Field& field, const std::string& path, void* options) {
    const bool is_single = field.spec.one_or_many && node.kind == Kind::kScalar;
    if (node.kind != Kind::kSequence && !is_single) return reject(node, field, path, "is not a list");
    const std::vector<YamlNode> single = is_single ? std::vector<YamlNode>{node} : std::vector<YamlNode>{};
    const std::vector<YamlNode>& items = is_single ? single : node.items;
    if (field.spec.length && *field.spec.length != int64_t(items.size())) {
      return reject(node, field, path, fmt::format("with {} elements has the wrong length", items.size()));
    }
    std::vector<Element> values;
    for (size_t i = 0; i < items.size(); ++i) {
      if (items[i].kind == Kind::kInvalid) continue;
      const Parsed parsed = parse_scalar(items[i], field.kind, field.spec);
      if (!parsed.reason.empty()) {
        reject(items[i], is_single ? field : element_of(field),
               is_single ? path : fmt::format("{}[{}]", path, i), parsed.reason);
      } else {
        values.push_back(std::get<Element>(parsed.value));
      }
    }
    if (values.size() != items.size()) return false;
    field.set(options, Value(std::move(values)));
    return true;
  }

  bool bind_items(const YamlNode& node, const Field& field, const std::string& path, void* options) {
    if (node.kind != Kind::kSequence) return reject(node, field, path, "is not a list");
    field.clear(options);
    bool is_complete = true;
    for (size_t i = 0; i < node.items.size(); ++i) {
      const YamlNode& item = node.items[i];
      const std::string item_path = fmt::format("{}[{}]", path, i);
      if (item.kind == Kind::kMap) {
        is_complete &= bind_map(item, field.item_fields, item_path, field.append(options));
      } else {
        is_complete = item.kind == Kind::kInvalid ? false : reject(item, field, item_path, "is not a map");
      }
    }
    return is_complete;
  }

  void report_unknown_key(const YamlEntry& entry, const std::vector<Field>& fields,
                          const std::string& prefix) {
    std::vector<std::string> known;
    for (const Field& field : fields) known.push_back(field.name);
    report(entry.position,
           fmt::format("unknown key {}.{}{} Known keys of {}: {}", prefix, printable(entry.key, 60),
                       advice(entry.key, known), prefix, fmt::join(known, ", ")));
  }

  /// Always false, for `return reject(...)`.
  bool reject(const YamlNode& node, const Field& field, const std::string& path, const std::string& reason) {
    const std::string value = field.spec.secret ? "(secret)" : shown(node);
    report(node.position,
           fmt::format("{} is {}, which {}; it must be {}", path, value, reason, expectation(field)));
    return false;
  }

  void report(const Position& position, std::string message) {
    problems_.push_back({position, std::move(message)});
  }

  std::vector<Problem>& problems_;
};

}  // namespace

bool bind_map(const YamlNode& map, const std::vector<Field>& fields, const std::string& prefix, void* options,
              std::vector<Problem>& problems) {
  return Binder(problems).bind_map(map, fields, prefix, options);
}

std::string expectation(const Field& field) {
  const FieldSpec& spec = field.spec;
  const std::string count = spec.length ? fmt::format("{} ", *spec.length) : "";
  const std::string choice = fmt::format("one of {}", fmt::join(spec.one_of, ", "));
  std::string text;
  switch (field.kind) {
    case FieldKind::kBool:
      text = "true or false";
      break;
    case FieldKind::kInteger:
      text = "an integer";
      break;
    case FieldKind::kNumber:
      text = "a number";
      break;
    case FieldKind::kString:
      text = spec.one_of.empty() ? "text" : choice;
      break;
    case FieldKind::kNumbers:
      text = fmt::format("a list of {}numbers", count);
      break;
    case FieldKind::kStrings:
      text = fmt::format("a list of {}texts", count);
      break;
    case FieldKind::kIntegersByName:
      text = "a map of names to integers";
      break;
    case FieldKind::kNumbersByName:
      text = "a map of names to numbers";
      break;
    case FieldKind::kMaps:
      text = "a list of maps";
      break;
  }
  if (field.kind == FieldKind::kStrings && spec.one_or_many) text = "a text or " + text;
  if (field.kind == FieldKind::kStrings && !spec.one_of.empty()) text += ", each " + choice;
  if (field.kind == FieldKind::kMaps && !field.item_fields.empty()) {
    text += fmt::format(" such as [{{{}: ...}}]", field.item_fields.front().name);
  }
  const std::string range = range_text(spec);
  if (!range.empty()) {
    const bool is_single = field.kind == FieldKind::kInteger || field.kind == FieldKind::kNumber;
    text += (is_single ? " " : ", each ") + range;
  }
  if (!spec.unit.empty()) text += ", in " + spec.unit;
  return field.nullable ? text + ", or null" : text;
}

std::string unknown_section_message(const std::string& name) {
  std::vector<std::string> known;
  for (const Section& section : sections()) known.push_back(section.name);
  return fmt::format("unknown section {}{} Known sections: {}", printable(name, 60), advice(name, known),
                     fmt::join(known, ", "));
}

}  // namespace phalanx::core
