#include "data/cache_key.h"

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "core/error.h"
#include "core/hash.h"
#include "data/record_reader.h"
#include "data/text_stream.h"

namespace phalanx::data {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kEdgeBytes = 1 << 20;

/// The file's first and last MiB (all of it, if it is no longer than both).
std::string read_edges(const std::string& path, uint64_t size) {
  std::ifstream file(path, std::ios::binary);
  const uint64_t head = std::min(size, kEdgeBytes);
  const uint64_t tail = std::min(size - head, kEdgeBytes);
  std::string bytes(head + tail, '\0');
  file.read(bytes.data(), static_cast<std::streamsize>(head));
  if (tail > 0) {
    file.seekg(-static_cast<std::streamoff>(tail), std::ios::end);
    file.read(bytes.data() + head, static_cast<std::streamsize>(tail));
  }
  if (!file) core::fail(core::ExitCode::kBadInput, "{}: cannot be read", path);
  return bytes;
}

void add_file(core::Hasher& hasher, const SourceOptions& source) {
  std::error_code error;
  const fs::file_status status = fs::status(source.path, error);
  if (!fs::exists(status))
    core::fail(core::ExitCode::kBadInput, "{}: {} in data.train and data.eval", source.path,
               no_such_file(source.path));
  if (!fs::is_regular_file(status)) {
    core::fail(core::ExitCode::kBadInput, "{}: not a regular file; name a file of records: {}", source.path,
               known_record_files());
  }
  const uint64_t size = fs::file_size(source.path);
  hasher.add_field(source.path);
  hasher.add_field(source.format);
  hasher.add_field(source.documents);
  hasher.add_field(static_cast<int64_t>(size));
  hasher.add_field(static_cast<int64_t>(fs::last_write_time(source.path).time_since_epoch().count()));
  hasher.add_field(read_edges(source.path, size));
}

}  // namespace

uint64_t cache_key(const PrepareOptions& options, const Tokenizer& tokenizer) {
  core::Hasher hasher;
  for (const SourceOptions& source : options.sources) add_file(hasher, source);
  const DataOptions& data = options.data;
  hasher.add_field(static_cast<int64_t>(tokenizer.fingerprint()));
  hasher.add_field(options.chat_template);
  hasher.add_field(static_cast<int64_t>(options.kind));
  hasher.add_field(data.sequence_length);
  hasher.add_field(int64_t{data.packing});
  hasher.add_field(data.loss_on);
  hasher.add_field(data.on_too_long);
  hasher.add_field(data.special_tokens_in_content);
  hasher.add_field(data.max_bad_records);
  if (options.kind == SampleKind::kStepwise) hasher.add_field(options.step_separator);
  return hasher.digest_64();
}

}  // namespace phalanx::data
