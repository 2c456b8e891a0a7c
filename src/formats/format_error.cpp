#include "formats/format_error.h"

namespace phalanx::formats {

void throw_format_error(FormatErrorKind kind, const std::filesystem::path& path, uint64_t offset,
                        const std::string& message) {
  const std::string where = core::printable(path.string(), 400);
  const std::string place = offset == FormatError::kNowhere ? "" : fmt::format("byte {}: ", offset);
  throw FormatError(kind, path.string(), offset, fmt::format("{}: {}{}", where, place, message));
}

}  // namespace phalanx::formats
