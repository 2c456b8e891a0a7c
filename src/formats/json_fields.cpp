#include "formats/json_fields.h"

#include <cmath>

#include "formats/format_error.h"

namespace phalanx::formats {
namespace {

using nlohmann::json;
using Kind = FormatErrorKind;

bool fits(const json& value, int64_t min, int64_t max) {
  if (!value.is_number_integer()) return false;
  if (value.is_number_unsigned() && value.get<uint64_t>() > uint64_t(INT64_MAX)) return false;
  return value.get<int64_t>() >= min && value.get<int64_t>() <= max;
}

std::string integer_range(int64_t min, int64_t max) {
  return fmt::format("an integer from {} to {}", min, max);
}

void collect_unread(const json& object, const std::string& prefix, const std::set<std::string>& read,
                    std::vector<std::string>& out) {
  for (const auto& [key, value] : object.items()) {
    const std::string name = prefix + key;
    if (value.is_null()) continue;
    if (!read.contains(name)) {
      out.push_back(name);
    } else if (value.is_object() && read.contains(name + ".")) {
      collect_unread(value, name + ".", read, out);
    }
  }
}

}  // namespace

JsonFields::JsonFields(json object, std::filesystem::path path)
    : JsonFields(std::move(object), std::move(path), "", std::make_shared<std::set<std::string>>()) {}

JsonFields::JsonFields(json object, std::filesystem::path path, std::string prefix,
                       std::shared_ptr<std::set<std::string>> read)
    : object_(std::move(object)), path_(std::move(path)), prefix_(std::move(prefix)), read_(std::move(read)) {
  if (!object_.is_object())
    fail_in(Kind::kType, path_, "must hold a JSON object, but holds {}", object_.type_name());
}

bool JsonFields::has(const std::string& key) const {
  const auto found = object_.find(key);
  return found != object_.end() && !found->is_null();
}

const json* JsonFields::raw(const std::string& key) const {
  read_->insert(prefix_ + key);
  return has(key) ? &*object_.find(key) : nullptr;
}

const json& JsonFields::require(const std::string& key) const {
  if (const json* value = raw(key)) return *value;
  fail_in(Kind::kMissing, path_, "{}{} is missing", prefix_, key);
}

void JsonFields::fail_value(const std::string& key, const std::string& allowed) const {
  const json* value = raw(key);
  const std::string found =
      value == nullptr ? "missing" : value->dump(-1, ' ', true, json::error_handler_t::replace);
  fail_in(Kind::kRange, path_, "{}{} is {}, but must be {}", prefix_, core::printable(key),
          core::printable(found), allowed);
}

int64_t JsonFields::integer(const std::string& key, int64_t min, int64_t max) const {
  const json& value = require(key);
  if (!fits(value, min, max)) fail_value(key, integer_range(min, max));
  return value.get<int64_t>();
}

std::optional<int64_t> JsonFields::find_integer(const std::string& key, int64_t min, int64_t max) const {
  return raw(key) == nullptr ? std::nullopt : std::optional(integer(key, min, max));
}

double JsonFields::number(const std::string& key, double above, double max) const {
  const json& value = require(key);
  const double number = value.is_number() ? value.get<double>() : std::nan("");
  if (!(number > above && number <= max))
    fail_value(key, fmt::format("a number above {} up to {}", above, max));
  return number;
}

std::optional<double> JsonFields::find_number(const std::string& key, double above, double max) const {
  return raw(key) == nullptr ? std::nullopt : std::optional(number(key, above, max));
}

std::optional<bool> JsonFields::find_boolean(const std::string& key) const {
  const json* value = raw(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_boolean()) fail_value(key, "true or false");
  return value->get<bool>();
}

std::string JsonFields::text(const std::string& key) const {
  if (!require(key).is_string()) fail_value(key, "a string");
  return require(key).get<std::string>();
}

std::optional<std::string> JsonFields::find_text(const std::string& key) const {
  return raw(key) == nullptr ? std::nullopt : std::optional(text(key));
}

std::vector<int64_t> JsonFields::integers(const std::string& key, int64_t min, int64_t max) const {
  const json* value = raw(key);
  if (value == nullptr) return {};
  if (!value->is_array()) return {integer(key, min, max)};
  std::vector<int64_t> out;
  for (const json& element : *value) {
    if (!fits(element, min, max)) fail_value(key, integer_range(min, max) + ", or a list of such");
    out.push_back(element.get<int64_t>());
  }
  return out;
}

std::vector<std::string> JsonFields::texts(const std::string& key) const {
  const json* value = raw(key);
  if (value == nullptr) return {};
  std::vector<std::string> out;
  if (!value->is_array()) fail_value(key, "a list of strings");
  for (const json& element : *value) {
    if (!element.is_string()) fail_value(key, "a list of strings");
    out.push_back(element.get<std::string>());
  }
  return out;
}

std::optional<JsonFields> JsonFields::find_object(const std::string& key) const {
  const json* value = raw(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_object()) fail_value(key, "an object");
  read_->insert(prefix_ + key + ".");  // from here on its keys count one by one
  return JsonFields(*value, path_, prefix_ + key + ".", read_);
}

std::vector<std::string> JsonFields::keys() const {
  std::vector<std::string> out;
  for (const auto& [key, value] : object_.items()) out.push_back(key);
  return out;
}

std::vector<std::string> JsonFields::unread() const {
  std::vector<std::string> out;
  collect_unread(object_, prefix_, *read_, out);
  return out;
}

}  // namespace phalanx::formats
