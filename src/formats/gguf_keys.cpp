#include "formats/gguf_keys.h"

#include <cmath>

#include "core/error.h"
#include "formats/format_error.h"

namespace phalanx::formats {

int64_t GgufKeys::integer(std::string_view key, int64_t min, int64_t max) const {
  const std::string full = name(key);
  const int64_t value = metadata_.integer(full);
  if (value < min || value > max)
    fail_at(FormatErrorKind::kRange, metadata_.path(), metadata_.find(full)->offset_bytes,
            "{} is {}, but must be from {} to {}", full, value, min, max);
  return value;
}

int64_t GgufKeys::integer_or(std::string_view key, int64_t absent, int64_t min, int64_t max) const {
  return has(key) ? integer(key, min, max) : absent;
}

double GgufKeys::positive(std::string_view key) const {
  const std::string full = name(key);
  const double value = metadata_.number(full);
  if (!(value > 0) || !std::isfinite(value))
    fail_at(FormatErrorKind::kRange, metadata_.path(), metadata_.find(full)->offset_bytes,
            "{} is {}, but must be above 0", full, value);
  return double(float(value)) == value ? std::stod(fmt::format("{}", float(value))) : value;
}

double GgufKeys::positive_or(std::string_view key, double absent) const {
  return has(key) ? positive(key) : absent;
}

std::string GgufKeys::text_or(std::string_view key, std::string_view absent) const {
  return std::string(metadata_.find_text(name(key)).value_or(absent));
}

bool GgufKeys::boolean_or(std::string_view key, bool absent) const {
  return metadata_.find_boolean(name(key)).value_or(absent);
}

GgufKeyWriter& GgufKeyWriter::integer(std::string_view key, int64_t value) {
  if (value < 0 || value > int64_t{UINT32_MAX})
    core::fail(core::ExitCode::kBadConfig, "{}{} is {}, but GGUF files hold 0 to 2^32 - 1", prefix_, key,
               value);
  pairs_.u32(prefix_ + std::string(key), uint32_t(value));
  return *this;
}

GgufKeyWriter& GgufKeyWriter::number(std::string_view key, double value) {
  pairs_.f32(prefix_ + std::string(key), float(value));
  return *this;
}

GgufKeyWriter& GgufKeyWriter::text(std::string_view key, std::string_view value) {
  pairs_.text(prefix_ + std::string(key), value);
  return *this;
}

GgufKeyWriter& GgufKeyWriter::boolean(std::string_view key, bool value) {
  pairs_.boolean(prefix_ + std::string(key), value);
  return *this;
}

}  // namespace phalanx::formats
