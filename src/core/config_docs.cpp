#include <fmt/format.h>
#include <fmt/ranges.h>

#include <nlohmann/json.hpp>

#include "core/config.h"
#include "core/config_bind.h"
#include "core/config_value.h"

namespace phalanx::core {

namespace {

using Json = nlohmann::ordered_json;

// ---- Markdown
// ----------------------------------------------------------------------------------------------------

std::string escape_cell(const std::string& text) {
  std::string escaped;
  for (const char c : text) {
    if (c == '|') escaped += '\\';
    escaped += c;
  }
  return escaped;
}

std::string default_text(const Field& field, const void* options) {
  if (field.spec.required_in_item) return "required";
  if (field.kind == FieldKind::kMaps) return "`[]`";
  return fmt::format("`{}`", format_value(field.get(options)));
}

void add_rows(std::string& text, const std::vector<Field>& fields, const void* options,
              const std::string& prefix) {
  for (const Field& field : fields) {
    text += fmt::format("| `{}{}` | {} | {} | {} |\n", prefix, field.name, escape_cell(expectation(field)),
                        escape_cell(default_text(field, options)), escape_cell(field.spec.help));
    if (field.kind == FieldKind::kMaps) {
      add_rows(text, field.item_fields, field.make_item().get(), prefix + field.name + "[].");
    }
  }
}

// ---- JSON schema
// -------------------------------------------------------------------------------------------------

Json value_json(const Value& value) {
  return std::visit(
      [](const auto& v) -> Json {
        if constexpr (std::is_same_v<std::decay_t<decltype(v)>, std::monostate>)
          return nullptr;
        else
          return v;
      },
      value);
}

void add_range(Json& schema, const FieldSpec& spec, bool is_integer) {
  const auto bound = [&](double value) {
    return is_integer ? Json(static_cast<int64_t>(value)) : Json(value);
  };
  if (spec.min) schema[spec.above_min ? "exclusiveMinimum" : "minimum"] = bound(*spec.min);
  if (spec.max) schema["maximum"] = bound(*spec.max);
}

Json fields_schema(const std::vector<Field>& fields, const void* options);

Json list_schema(Json items, const FieldSpec& spec) {
  Json schema = {{"type", "array"}, {"items", std::move(items)}};
  if (spec.length) {
    schema["minItems"] = *spec.length;
    schema["maxItems"] = *spec.length;
  }
  return schema;
}

Json type_schema(const Field& field) {
  const FieldSpec& spec = field.spec;
  Json text = {{"type", "string"}};
  if (!spec.one_of.empty()) text["enum"] = spec.one_of;
  const bool is_integer = field.kind == FieldKind::kInteger || field.kind == FieldKind::kIntegersByName;
  Json number = {{"type", is_integer ? "integer" : "number"}};
  add_range(number, spec, is_integer);
  switch (field.kind) {
    case FieldKind::kBool:
      return {{"type", "boolean"}};
    case FieldKind::kInteger:
    case FieldKind::kNumber:
      return number;
    case FieldKind::kString:
      return text;
    case FieldKind::kNumbers:
      return list_schema(number, spec);
    case FieldKind::kStrings:
      if (spec.one_or_many) return {{"anyOf", Json::array({text, list_schema(text, spec)})}};
      return list_schema(text, spec);
    case FieldKind::kIntegersByName:
    case FieldKind::kNumbersByName:
      return {{"type", "object"}, {"additionalProperties", number}};
    case FieldKind::kMaps:
      return list_schema(fields_schema(field.item_fields, field.make_item().get()), spec);
  }
  return {};
}

Json field_schema(const Field& field, const void* options) {
  Json schema = type_schema(field);
  if (field.nullable) schema = {{"anyOf", Json::array({schema, {{"type", "null"}}})}};
  std::string description = field.spec.help;
  if (!field.spec.unit.empty()) description += fmt::format(" Unit: {}.", field.spec.unit);
  schema["description"] = description;
  if (field.kind != FieldKind::kMaps && !field.spec.required_in_item)
    schema["default"] = value_json(field.get(options));
  return schema;
}

Json fields_schema(const std::vector<Field>& fields, const void* options) {
  Json properties = Json::object();
  Json required = Json::array();
  for (const Field& field : fields) {
    properties[field.name] = field_schema(field, options);
    if (field.spec.required_in_item) required.push_back(field.name);
  }
  Json schema = {{"type", "object"}, {"additionalProperties", false}, {"properties", std::move(properties)}};
  if (!required.empty()) schema["required"] = std::move(required);
  return schema;
}

}  // namespace

std::string config_markdown() {
  std::string text =
      "# The run config\n\n"
      "Generated from the declarations in `src/`: edit those, not this page. Every key may also be given on "
      "the command line,\n"
      "`--set section.key=value`. A key that is not listed here is an error.\n";
  for (const Section& section : sections()) {
    text += fmt::format("\n## `{}`\n{}\n\n| key | value | default | meaning |\n|---|---|---|---|\n",
                        section.name, section.help);
    add_rows(text, section.fields, section.make().get(), "");
  }
  return text;
}

std::string config_json_schema() {
  Json properties = Json::object();
  for (const Section& section : sections()) {
    properties[section.name] = fields_schema(section.fields, section.make().get());
    properties[section.name]["description"] = section.help;
  }
  const Json schema = {{"$schema", "https://json-schema.org/draft/2020-12/schema"},
                       {"title", "Phalanx run config"},
                       {"type", "object"},
                       {"additionalProperties", false},
                       {"properties", std::move(properties)}};
  return schema.dump(2) + "\n";
}

}  // namespace phalanx::core
