#include "data/token_set.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "core/error.h"
#include "core/files.h"
#include "core/hash.h"

namespace phalanx::data {
namespace {

constexpr char kMagic[8] = {'P', 'H', 'X', 'T', 'O', 'K', 'E', 'N'};
constexpr uint64_t kVersion = 5;  // the format of the file, and what records mean
constexpr size_t kAlign = 64;
static_assert(sizeof(Segment) == 32 && std::is_trivially_copyable_v<Segment>);

struct Header {
  char magic[8];
  uint64_t version, key, content_hash;
  uint64_t num_tokens, num_segments, num_rows, num_sources, report_bytes;
};

size_t aligned(size_t size) {
  return (size + kAlign - 1) / kAlign * kAlign;
}

/// Writes the arrays of a file, each at its alignment; reading walks the same layout with the sizes of the
/// header.
class Writer {
 public:
  explicit Writer(const std::string& path) : path_(path), file_(path, std::ios::binary | std::ios::trunc) {
    const Header empty{};
    file_.write(reinterpret_cast<const char*>(&empty), sizeof empty);
  }

  template <typename T>
  void add(const T* data, size_t count) {
    const std::string padding(aligned(position_) - position_, '\0');
    write(padding.data(), padding.size());
    write(reinterpret_cast<const char*>(data), count * sizeof(T));
  }

  void finish(Header header) {
    header.content_hash = hasher_.digest_64();
    file_.seekp(0);
    file_.write(reinterpret_cast<const char*>(&header), sizeof header);
    file_.close();
    if (!file_) core::fail(core::ExitCode::kStorage, "{}: cannot be written; is the disk full?", path_);
    core::fsync_file(path_);
  }

 private:
  void write(const char* data, size_t size) {
    file_.write(data, static_cast<std::streamsize>(size));
    hasher_.add(std::string_view(data, size));
    position_ += size;
  }

  std::string path_;
  std::ofstream file_;
  core::Hasher hasher_;
  size_t position_ = sizeof(Header);
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
  return core::xxh3_64(bytes.substr(sizeof(Header)));
}

void write_arrays(Writer& writer, const TokenSetContent& content) {
  const std::string report =
      content.report.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
  writer.add(content.ids.data(), content.ids.size());
  writer.add(content.mask.data(), content.mask.size());
  writer.add(content.packing.segments.data(), content.packing.segments.size());
  writer.add(content.packing.row_begin.data(), content.packing.row_begin.size());
  writer.add(content.source_begin.data(), content.source_begin.size());
  writer.add(report.data(), report.size());
  Header header{};
  std::memcpy(header.magic, kMagic, sizeof kMagic);
  header.version = kVersion;
  header.key = content.key;
  header.num_tokens = content.ids.size();
  header.num_segments = content.packing.segments.size();
  header.num_rows = content.packing.row_begin.size() - 1;
  header.num_sources = content.source_begin.size() - 1;
  header.report_bytes = report.size();
  writer.finish(header);
}

bool is_ascending(std::span<const uint64_t> places, uint64_t end) {
  return !places.empty() && places.front() == 0 && places.back() == end && std::ranges::is_sorted(places);
}

/// Whether rows, segments and sources lie inside of what they cut.
bool is_consistent(std::span<const Segment> segments, uint64_t num_tokens,
                   std::span<const uint64_t> row_begin, std::span<const uint64_t> source_begin) {
  const bool segments_fit = std::ranges::all_of(segments, [&](const Segment& segment) {
    return segment.length <= num_tokens && segment.begin <= num_tokens - segment.length;
  });
  return segments_fit && is_ascending(row_begin, segments.size()) &&
         is_ascending(source_begin, row_begin.size() - 1);
}

}  // namespace

void TokenSet::write(const std::string& path, const TokenSetContent& content) {
  const std::filesystem::path folder = std::filesystem::path(path).parent_path();
  core::make_directories(folder.string());
  const std::string temporary = fmt::format("{}.{}.partial", path, getpid());
  std::error_code error;
  try {
    Writer writer(temporary);
    write_arrays(writer, content);
    std::filesystem::rename(temporary, path);
  } catch (const std::filesystem::filesystem_error& failure) {
    std::filesystem::remove(temporary, error);
    core::fail(core::ExitCode::kStorage, "{}: cannot be renamed into place: {}", path,
               failure.code().message());
  } catch (...) {
    std::filesystem::remove(temporary, error);
    throw;
  }
  core::fsync_directory(folder.string());
}

std::optional<TokenSet> TokenSet::open(const std::string& path, uint64_t key, std::string& why) {
  why.clear();
  if (!std::filesystem::exists(path)) return std::nullopt;
  TokenSet set(path);
  const std::string_view bytes = set.file_->text();
  Header header{};
  if (bytes.size() < sizeof header) {
    why = fmt::format("{} is cut short", path);
    return std::nullopt;
  }
  std::memcpy(&header, bytes.data(), sizeof header);
  if (std::memcmp(header.magic, kMagic, sizeof kMagic) != 0 || header.version != kVersion ||
      header.key != key) {
    why = fmt::format("{} was made from other data or settings", path);
    return std::nullopt;
  }
  Walker walker(bytes, sizeof header);
  std::span<const char> report;
  const bool counts_fit = header.num_rows < bytes.size() && header.num_sources < bytes.size();
  const bool fits =
      counts_fit && walker.take(header.num_tokens, set.ids_) && walker.take(header.num_tokens, set.mask_) &&
      walker.take(header.num_segments, set.segments_) && walker.take(header.num_rows + 1, set.row_begin_) &&
      walker.take(header.num_sources + 1, set.source_begin_) && walker.take(header.report_bytes, report);
  const bool is_whole = fits && walker.at_end() && hash_after_header(bytes) == header.content_hash &&
                        is_consistent(set.segments_, set.ids_.size(), set.row_begin_, set.source_begin_);
  if (is_whole)
    set.report_ =
        nlohmann::ordered_json::parse(report.begin(), report.end(), nullptr, /*allow_exceptions=*/false);
  if (!is_whole || set.report_.is_discarded()) {
    why = fmt::format("{} is damaged", path);
    return std::nullopt;
  }
  return set;
}

std::span<const Segment> TokenSet::row(uint64_t index) const {
  const uint64_t begin = row_begin_[index], end = row_begin_[index + 1];
  check_unchanged();
  return segments_.subspan(begin, end - begin);
}

bool TokenSet::continues(const Segment& segment) const {
  const auto next = static_cast<size_t>(&segment - segments_.data()) + 1;
  return next < segments_.size() && segments_[next].begin == segment.begin + segment.length &&
         segments_[next].record_id == segment.record_id && segments_[next].answer == segment.answer;
}

}  // namespace phalanx::data
