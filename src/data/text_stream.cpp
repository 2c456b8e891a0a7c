#include "data/text_stream.h"

#include <fmt/format.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <vector>

#include "core/error.h"

namespace phalanx::data {
namespace {

constexpr size_t kMinChunk = 4096, kMaxChunk = 1 << 20;
constexpr uint64_t kMaxRatio = 200;
constexpr uint64_t kAlwaysAllowed = uint64_t{64} << 20;

}  // namespace

std::string no_such_file(std::string_view path) {
  const bool is_pattern = path.find_first_of("*?[{") != std::string_view::npos;
  return is_pattern ? "no such file; patterns are not expanded: list each file"
                    : "no such file; check its path";
}

/// Unpacked bytes of a file, piece by piece.
class TextStream::Source {
 public:
  explicit Source(const std::string& path) : path_(path) {
    std::error_code error;
    const std::filesystem::file_status status = std::filesystem::status(path, error);
    if (!std::filesystem::exists(status)) broken(no_such_file(path));
    if (!std::filesystem::is_regular_file(status)) broken("not a regular file; name a file of records");
    file_.open(path, std::ios::binary);  // only now: opening a pipe would wait for its writer
    if (!file_) broken("cannot be opened; check its permissions");
    file_bytes_ = std::filesystem::file_size(path);
    packed_.resize(chunk());
  }
  virtual ~Source() = default;
  virtual size_t read(char* out, size_t capacity) = 0;  // 0 at the end
  size_t chunk() const {
    return std::clamp<uint64_t>(file_bytes_, kMinChunk, kMaxChunk);
  }  // worth reading at once

 protected:
  [[noreturn]] void broken(const std::string& what) const {
    core::fail(core::ExitCode::kBadInput, "{}: {}", path_, what);
  }
  /// As much as the file had when it was opened: a log that somebody writes would never end.
  size_t read_file(char* out, size_t capacity) {
    capacity = std::min<uint64_t>(capacity, file_bytes_ - read_bytes_);
    file_.read(out, static_cast<std::streamsize>(capacity));
    if (file_.bad()) broken("reading failed; is the disk in order?");
    const auto count = static_cast<size_t>(file_.gcount());
    read_bytes_ += count;
    if (count < capacity || read_bytes_ == file_bytes_) check_unchanged();
    return count;
  }
  /// The file still has the size that it was opened with, all of it could be read, or it was removed after
  /// that.
  void check_unchanged() const {
    std::error_code error;
    const uint64_t now = std::filesystem::file_size(path_, error);
    if (read_bytes_ == file_bytes_ && (error || now == file_bytes_)) return;
    broken(
        fmt::format("was written while it was read: it had {} bytes, now it has {}; start again when nobody "
                    "writes it",
                    file_bytes_, error ? 0 : now));
  }
  size_t read_packed() { return read_file(packed_.data(), packed_.size()); }
  void count_unpacked(size_t bytes) {
    unpacked_bytes_ += bytes;
    if (unpacked_bytes_ > kAlwaysAllowed && unpacked_bytes_ / kMaxRatio > file_bytes_) {
      broken("unpacks to more than 200 times its size: refused");
    }
  }

  std::string path_;
  std::ifstream file_;
  std::vector<char> packed_;
  uint64_t file_bytes_ = 0, read_bytes_ = 0, unpacked_bytes_ = 0;
};

class TextStream::PlainSource : public Source {
 public:
  using Source::Source;
  size_t read(char* out, size_t capacity) override { return read_file(out, capacity); }
};

class TextStream::GzipSource : public Source {
 public:
  explicit GzipSource(const std::string& path) : Source(path) { inflateInit2(&stream_, 15 + 16); }
  ~GzipSource() override { inflateEnd(&stream_); }

  size_t read(char* out, size_t capacity) override {
    stream_.next_out = reinterpret_cast<Bytef*>(out);
    stream_.avail_out = static_cast<uInt>(capacity);
    while (stream_.avail_out == capacity) {
      if (stream_.avail_in == 0) {
        stream_.avail_in = static_cast<uInt>(read_packed());
        stream_.next_in = reinterpret_cast<Bytef*>(packed_.data());
        if (stream_.avail_in == 0) {
          if (!between_members_) broken("gzip stream is cut short");
          return 0;
        }
      }
      const int status = inflate(&stream_, Z_NO_FLUSH);
      between_members_ = status == Z_STREAM_END;
      if (status == Z_STREAM_END)
        inflateReset(&stream_);
      else if (status != Z_OK && status != Z_BUF_ERROR)
        broken("not valid gzip data, or garbage after its end");
    }
    count_unpacked(capacity - stream_.avail_out);
    return capacity - stream_.avail_out;
  }

 private:
  z_stream stream_ = {};
  bool between_members_ = true;
};

class TextStream::ZstdSource : public Source {
 public:
  explicit ZstdSource(const std::string& path) : Source(path), stream_(ZSTD_createDStream()) {}
  ~ZstdSource() override { ZSTD_freeDStream(stream_); }

  size_t read(char* out, size_t capacity) override {
    ZSTD_outBuffer output{out, capacity, 0};
    while (output.pos == 0) {
      if (input_.pos == input_.size && !has_more_output_) {
        input_ = {packed_.data(), read_packed(), 0};
        if (input_.size == 0) {
          if (!between_frames_) broken("zstd stream is cut short");
          return 0;
        }
      }
      const size_t before = input_.pos + output.pos;
      const size_t status = ZSTD_decompressStream(stream_, &output, &input_);
      if (ZSTD_isError(status)) broken(std::string("not valid zstd data: ") + ZSTD_getErrorName(status));
      if (input_.pos + output.pos > before) between_frames_ = status == 0;
      has_more_output_ = output.pos == output.size;  // it may hold back what did not fit
    }
    count_unpacked(output.pos);
    return output.pos;
  }

 private:
  ZSTD_DStream* stream_;
  ZSTD_inBuffer input_ = {nullptr, 0, 0};
  bool between_frames_ = true;
  bool has_more_output_ = false;
};

std::unique_ptr<TextStream::Source> TextStream::open(const std::string& path) {
  if (path.ends_with(".gz")) return std::make_unique<GzipSource>(path);
  if (path.ends_with(".zst")) return std::make_unique<ZstdSource>(path);
  return std::make_unique<PlainSource>(path);
}

TextStream::TextStream(const std::string& path) : source_(open(path)) {
  while (buffer_.size() < 3 && fill()) {
  }
  if (buffer_.starts_with("\xEF\xBB\xBF")) position_ = 3;
}

TextStream::~TextStream() = default;

bool TextStream::fill() {
  if (at_end_) return false;
  bytes_before_buffer_ += position_;
  buffer_.erase(0, position_);
  position_ = 0;
  const size_t old = buffer_.size(), chunk = source_->chunk();
  if (buffer_.capacity() < old + chunk) buffer_.reserve(2 * old + chunk);
  buffer_.resize(old + chunk);
  const size_t count = source_->read(buffer_.data() + old, chunk);
  buffer_.resize(old + count);
  at_end_ = count == 0;
  return count > 0;
}

}  // namespace phalanx::data
