#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "core/config.h"
#include "core/config_value.h"
#include "core/hash.h"
#include "core/scalar.h"

namespace phalanx::core {

namespace {

constexpr std::string_view kMask = "********";

/// "https://user:password@host" -> "https://********@host".
std::string without_password(std::string text) {
  const size_t scheme = text.find("://");
  if (scheme == std::string::npos) return text;
  const size_t end = std::min(text.find_first_of("/?#", scheme + 3), text.size());
  const size_t at = text.rfind('@', end);
  if (at == std::string::npos || at < scheme + 3) return text;
  return text.substr(0, scheme + 3) + std::string(kMask) + text.substr(at);
}

struct Formatter {
  std::string operator()(std::monostate) const { return "null"; }
  std::string operator()(bool v) const { return v ? "true" : "false"; }
  std::string operator()(int64_t v) const { return fmt::format("{}", v); }
  std::string operator()(double v) const { return format_number(v); }
  std::string operator()(const std::string& v) const { return format_string(v); }
  template <typename Element>
  std::string operator()(const std::vector<Element>& elements) const {
    std::vector<std::string> texts;
    for (const Element& element : elements) texts.push_back((*this)(element));
    return fmt::format("[{}]", fmt::join(texts, ", "));
  }
  template <typename Number>
  std::string operator()(const std::map<std::string, Number>& entries) const {
    std::vector<std::string> texts;
    for (const auto& [name, number] : entries) texts.push_back((*this)(name) + ": " + (*this)(number));
    return fmt::format("{{{}}}", fmt::join(texts, ", "));
  }
};

class Printer {
 public:
  Printer(const Config& config, bool with_origins) : config_(config), with_origins_(with_origins) {}

  std::string take_text() { return std::move(text_); }

  void print(const Section& section, const void* options) {
    text_ += section.name + ":\n";
    for (const Field& field : section.fields)
      print_field(field, options, section.name + "." + field.name, "  ");
  }

 private:
  void print_field(const Field& field, const void* options, const std::string& path,
                   const std::string& indentation) {
    const std::string start = indentation + field.name + ":";
    if (field.kind != FieldKind::kMaps) {
      print_line(start + " " + shown(field, options), path);
      return;
    }
    const std::vector<const void*> items = field.items(options);
    print_line(start + (items.empty() ? " []" : ""), path);
    for (size_t i = 0; i < items.size(); ++i) {
      // The first key of a map stands after the dash, the others below it.
      std::string prefix = indentation + "  - ";
      for (const Field& item_field : field.item_fields) {
        print_field(item_field, items[i], fmt::format("{}.{}.{}", path, i, item_field.name), prefix);
        prefix = indentation + "    ";
      }
    }
  }

  static std::string shown(const Field& field, const void* options) {
    const Value value = field.get(options);
    if (field.spec.secret && !std::holds_alternative<std::monostate>(value)) return format_string(kMask);
    if (const auto* text = std::get_if<std::string>(&value)) return format_string(without_password(*text));
    return format_value(value);
  }

  void print_line(const std::string& line, const std::string& path) {
    text_ += line;
    if (with_origins_) text_ += "  # " + config_.origin(path);
    text_ += "\n";
  }

  const Config& config_;
  bool with_origins_;
  std::string text_;
};

std::string joined(const std::string& prefix, const std::string& name) {
  return prefix.empty() ? name : prefix + "." + name;
}

}  // namespace

bool takes(PathOf wanted, PathOf given) {
  const bool is_model = given == PathOf::kModel || given == PathOf::kAdapter;
  return wanted == given || wanted == PathOf::kFile || (wanted == PathOf::kAnyModel && is_model);
}

std::string_view name(PathOf of) {
  if (of == PathOf::kModel) return "a model with all weights";
  if (of == PathOf::kAdapter) return "an adapter";
  if (of == PathOf::kAnyModel) return "a model or adapter";
  return of == PathOf::kRecords ? "records" : "a file";
}

std::string format_value(const Value& value) {
  return std::visit(Formatter{}, value);
}

std::map<std::string, std::string> values_by_key(const std::vector<Field>& fields, const std::string& prefix,
                                                 const void* options) {
  std::map<std::string, std::string> values;
  for (const Field& field : fields) {
    const std::string key = joined(prefix, field.name);
    if (field.kind != FieldKind::kMaps) {
      const std::string value = format_value(field.get(options));
      values[key] = field.spec.secret ? xxh3_128(value).hex() : value;
      continue;
    }
    const std::vector<const void*> items = field.items(options);
    for (size_t i = 0; i < items.size(); ++i)
      values.merge(values_by_key(field.item_fields, fmt::format("{}[{}]", key, i), items[i]));
  }
  return values;
}

std::vector<NamedPath> named_paths(const std::vector<Field>& fields, const std::string& prefix,
                                   const void* options) {
  std::vector<NamedPath> paths;
  for (const Field& field : fields) {
    const std::string key = joined(prefix, field.name);
    if (field.kind == FieldKind::kMaps) {
      const std::vector<const void*> items = field.items(options);
      for (size_t i = 0; i < items.size(); ++i) {
        for (NamedPath& path : named_paths(field.item_fields, fmt::format("{}[{}]", key, i), items[i]))
          paths.push_back(std::move(path));
      }
    } else if (field.spec.path != PathOf::kNone) {
      const Value value = field.get(options);
      if (const auto* text = std::get_if<std::string>(&value)) paths.push_back({key, *text, field.spec.path});
      if (const auto* texts = std::get_if<std::vector<std::string>>(&value)) {
        for (const std::string& text : *texts) paths.push_back({key, text, field.spec.path});
      }
    }
  }
  return paths;
}

std::map<std::string, std::string> Config::values() const {
  std::map<std::string, std::string> values;
  for (const Section& section : sections()) {
    if (is_present(section))
      values.merge(values_by_key(section.fields, section.name, options_.at(section.name).get()));
  }
  return values;
}

std::vector<NamedPath> Config::named_paths() const {
  std::vector<NamedPath> paths;
  for (const Section& section : sections()) {
    if (!is_present(section)) continue;
    for (NamedPath& path : core::named_paths(section.fields, section.name, options_.at(section.name).get()))
      paths.push_back(std::move(path));
  }
  return paths;
}

std::string Config::print(bool with_origins, const std::vector<std::string>& without) const {
  Printer printer(*this, with_origins);
  for (const Section& section : sections()) {
    if (is_present(section) && std::find(without.begin(), without.end(), section.name) == without.end())
      printer.print(section, options_.at(section.name).get());
  }
  return printer.take_text();
}

}  // namespace phalanx::core
