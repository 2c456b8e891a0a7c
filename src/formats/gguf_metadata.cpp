#include "formats/gguf_metadata.h"

#include <array>
#include <cstring>

#include "formats/format_error.h"

namespace phalanx::formats {
namespace {

struct TypeTraits {
  std::string_view name;
  size_t bytes;
};

constexpr std::array<TypeTraits, 13> kTypes = {{
    {"u8", 1},
    {"i8", 1},
    {"u16", 2},
    {"i16", 2},
    {"u32", 4},
    {"i32", 4},
    {"f32", 4},
    {"bool", 1},
    {"string", 0},
    {"array", 0},
    {"u64", 8},
    {"i64", 8},
    {"f64", 8},
}};

bool is_integer(GgufType type) {
  switch (type) {
    case GgufType::kF32:
    case GgufType::kF64:
    case GgufType::kBool:
    case GgufType::kString:
    case GgufType::kArray:
      return false;
    default:
      return true;
  }
}

template <typename Stored, typename Wanted>
void append(const GgufArray& array, std::vector<Wanted>& out) {
  for (uint64_t i = 0; i < array.count; ++i) {
    Stored value;
    std::memcpy(&value, array.bytes.data() + i * sizeof value, sizeof value);
    out.push_back(Wanted(value));
  }
}

std::string type_of(const GgufValue& value) {
  if (const auto* array = std::get_if<GgufArray>(&value.value))
    return fmt::format("an array of {}", gguf_type_name(array->element_type));
  return std::string(gguf_type_name(value.type));
}

}  // namespace

std::string_view gguf_type_name(GgufType type) {
  return kTypes.at(size_t(type)).name;
}
size_t gguf_scalar_bytes(GgufType type) {
  return kTypes.at(size_t(type)).bytes;
}

const GgufValue* GgufMetadata::find(std::string_view key) const {
  const auto found = values_.find(key);
  return found == values_.end() ? nullptr : &found->second;
}

const GgufValue& GgufMetadata::require(std::string_view key) const {
  if (const GgufValue* value = find(key)) return *value;
  fail_in(FormatErrorKind::kMissing, path_,
          "has no metadata key {}; the file is incomplete, convert the model again", core::printable(key));
}

void GgufMetadata::wrong_type(std::string_view key, const GgufValue& found, std::string_view wanted) const {
  fail_at(FormatErrorKind::kType, path_, found.offset_bytes, "{} is {}, but must be {}", core::printable(key),
          type_of(found), wanted);
}

const GgufArray& GgufMetadata::require_array(std::string_view key, std::string_view wanted) const {
  const GgufValue& value = require(key);
  if (const auto* array = std::get_if<GgufArray>(&value.value)) return *array;
  wrong_type(key, value, wanted);
}

int64_t GgufMetadata::integer(std::string_view key) const {
  const GgufValue& value = require(key);
  if (const auto* number = std::get_if<int64_t>(&value.value)) return *number;
  const auto* number = std::get_if<uint64_t>(&value.value);
  if (number == nullptr) wrong_type(key, value, "an integer");
  if (*number > uint64_t(INT64_MAX))
    fail_at(FormatErrorKind::kValue, path_, value.offset_bytes, "{} is {}, which is too large",
            core::printable(key), *number);
  return int64_t(*number);
}

double GgufMetadata::number(std::string_view key) const {
  const GgufValue& value = require(key);
  if (const auto* number = std::get_if<double>(&value.value)) return *number;
  if (!is_integer(value.type)) wrong_type(key, value, "a number");
  return double(integer(key));
}

bool GgufMetadata::boolean(std::string_view key) const {
  const GgufValue& value = require(key);
  if (const auto* flag = std::get_if<bool>(&value.value)) return *flag;
  wrong_type(key, value, "a bool");
}

std::string_view GgufMetadata::text(std::string_view key) const {
  const GgufValue& value = require(key);
  if (const auto* text = std::get_if<std::string_view>(&value.value)) return *text;
  wrong_type(key, value, "a string");
}

std::vector<std::string_view> GgufMetadata::texts(std::string_view key) const {
  const GgufArray& array = require_array(key, "an array of strings");
  if (array.element_type != GgufType::kString) wrong_type(key, *find(key), "an array of strings");
  return array.strings;
}

std::vector<int64_t> GgufMetadata::integers(std::string_view key) const {
  constexpr std::string_view kWanted = "an array of integers";
  const GgufArray& array = require_array(key, kWanted);
  std::vector<int64_t> out;
  out.reserve(array.count);
  switch (array.element_type) {
    case GgufType::kU8:
      append<uint8_t>(array, out);
      break;
    case GgufType::kI8:
      append<int8_t>(array, out);
      break;
    case GgufType::kU16:
      append<uint16_t>(array, out);
      break;
    case GgufType::kI16:
      append<int16_t>(array, out);
      break;
    case GgufType::kU32:
      append<uint32_t>(array, out);
      break;
    case GgufType::kI32:
      append<int32_t>(array, out);
      break;
    case GgufType::kU64:
      append<uint64_t>(array, out);
      break;
    case GgufType::kI64:
      append<int64_t>(array, out);
      break;
    default:
      wrong_type(key, *find(key), kWanted);
  }
  return out;
}

std::vector<float> GgufMetadata::floats(std::string_view key) const {
  constexpr std::string_view kWanted = "an array of f32";
  const GgufArray& array = require_array(key, kWanted);
  std::vector<float> out;
  out.reserve(array.count);
  switch (array.element_type) {
    case GgufType::kF32:
      append<float>(array, out);
      break;
    case GgufType::kF64:
      append<double>(array, out);
      break;
    default:
      wrong_type(key, *find(key), kWanted);
  }
  return out;
}

std::optional<int64_t> GgufMetadata::find_integer(std::string_view key) const {
  return has(key) ? std::optional(integer(key)) : std::nullopt;
}

std::optional<double> GgufMetadata::find_number(std::string_view key) const {
  return has(key) ? std::optional(number(key)) : std::nullopt;
}

std::optional<bool> GgufMetadata::find_boolean(std::string_view key) const {
  return has(key) ? std::optional(boolean(key)) : std::nullopt;
}

std::optional<std::string_view> GgufMetadata::find_text(std::string_view key) const {
  return has(key) ? std::optional(text(key)) : std::nullopt;
}

}  // namespace phalanx::formats
