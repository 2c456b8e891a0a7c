#include "data/token_set.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <cstring>
#include <filesystem>

namespace phalanx::data {
namespace {

constexpr char kMagic[8] = {'P', 'H', 'X', 'T', 'O', 'K', 'E', 'N'};
constexpr uint64_t kVersion = 1;
constexpr size_t kAlign = 64;
static_assert(sizeof(Segment) == 24 && std::is_trivially_copyable_v<Segment>);

struct Header {
  char magic[8];
  uint64_t version, key, content_hash;
  uint64_t num_tokens, num_segments, num_rows, num_sources, report_bytes;
};

size_t aligned(size_t size) { return (size + kAlign - 1) / kAlign * kAlign; }

/// Appends the arrays of a file, each at its alignment; reading walks the same layout with the sizes of the header.
class Appender {
 public:
  explicit Appender(std::string& out) : out_(out) {}
  template <typename T>
  void add(const T* data, size_t count) {
    out_.resize(aligned(out_.size()), '\0');
    out_.append(reinterpret_cast<const char*>(data), count * sizeof(T));
  }

 private:
  std::string& out_;
};

class Walker {
 public:
  Walker(std::string_view bytes, size_t position) : bytes_(bytes), position_(position) {}
  template <typename T>
  bool take(uint64_t count, std::span<const T>& out) {
    position_ = aligned(position_);
    if (position_ > bytes_.size() || count > (bytes_.size() - position_) / sizeof(T)) return false;
    out = {reinterpret_cast<const T*>(bytes_.data() + position_), static_cast<size_t>(count)};
    position_ += count * sizeof(T);
    return true;
  }
  bool at_end() const { return position_ == bytes_.size(); }

 private:
  std::string_view bytes_;
  size_t position_;
};

uint64_t hash_after_header(std::string_view bytes) {
  return XXH3_64bits(bytes.data() + sizeof(Header), bytes.size() - sizeof(Header));
}

}  // namespace

void TokenSet::write(const std::string& path, uint64_t key, const TokenSetContent& content) {
  const std::string report = content.report.dump();
  std::string out(sizeof(Header), '\0');
  out.reserve(content.ids.size() * 5 + content.packing.segments.size() * sizeof(Segment) + (1 << 16));
  Appender appender(out);
  appender.add(content.ids.data(), content.ids.size());
  appender.add(content.mask.data(), content.mask.size());
  appender.add(content.packing.segments.data(), content.packing.segments.size());
  appender.add(content.packing.row_begin.data(), content.packing.row_begin.size());
  appender.add(content.source_begin.data(), content.source_begin.size());
  appender.add(report.data(), report.size());
  Header header{{}, kVersion, key, hash_after_header(out), content.ids.size(), content.packing.segments.size(),
                content.packing.row_begin.size() - 1, content.source_begin.size() - 1, report.size()};
  std::memcpy(header.magic, kMagic, sizeof kMagic);
  std::memcpy(out.data(), &header, sizeof header);
  core::make_directories(std::filesystem::path(path).parent_path().string());
  core::write_file_atomic(path, out);
}

std::optional<TokenSet> TokenSet::open(const std::string& path, uint64_t key, std::string& why) {
  why.clear();
  if (!std::filesystem::exists(path)) return std::nullopt;
  TokenSet set{core::MappedFile(path)};
  const std::string_view bytes = set.file_.text();
  Header header{};
  if (bytes.size() < sizeof header) {
    why = fmt::format("{} is cut short", path);
    return std::nullopt;
  }
  std::memcpy(&header, bytes.data(), sizeof header);
  if (std::memcmp(header.magic, kMagic, sizeof kMagic) != 0 || header.version != kVersion || header.key != key) {
    why = fmt::format("{} was made from other data or settings", path);
    return std::nullopt;
  }
  Walker walker(bytes, sizeof header);
  std::span<const char> report;
  const bool fits = walker.take(header.num_tokens, set.ids_) && walker.take(header.num_tokens, set.mask_) &&
                    walker.take(header.num_segments, set.segments_) && walker.take(header.num_rows + 1, set.row_begin_) &&
                    walker.take(header.num_sources + 1, set.source_begin_) && walker.take(header.report_bytes, report);
  if (!fits || !walker.at_end() || hash_after_header(bytes) != header.content_hash) {
    why = fmt::format("{} is damaged", path);
    return std::nullopt;
  }
  set.report_ = nlohmann::ordered_json::parse(report.begin(), report.end());
  return set;
}

}  // namespace phalanx::data
