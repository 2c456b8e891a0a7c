#include "checkpoint/manifest.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/error.h"

namespace phalanx::checkpoint {

namespace {

using OrderedJson = nlohmann::ordered_json;

constexpr std::string_view kFormat = "phalanx-checkpoint";
constexpr int64_t kVersion = 1;
constexpr std::string_view kTailBegin = "\"manifest_digest\": \"";
constexpr std::string_view kTailEnd = "\"\n}\n";
constexpr size_t kTailBytes = kTailBegin.size() + 32 + kTailEnd.size();
constexpr int64_t kMaxElements = int64_t{1} << 53;
constexpr size_t kMaxDimensions = 16;

std::string lines(const std::vector<OrderedJson>& items) {
  std::vector<std::string> texts;
  for (const OrderedJson& item : items) texts.push_back(item.dump());
  return texts.empty() ? "[]" : fmt::format("[\n{}\n]", fmt::join(texts, ",\n"));
}

OrderedJson file_json(const FileEntry& file) {
  std::string blocks;
  for (const Digest& block : file.blocks) blocks += to_hex(block);
  return {{"name", file.name},
          {"bytes", file.size_bytes},
          {"digest", to_hex(file_digest(file.blocks))},
          {"block_digests", blocks}};
}

OrderedJson tensor_json(const TensorEntry& tensor) {
  OrderedJson pieces = OrderedJson::array();
  for (const Piece& piece : tensor.pieces) {
    pieces.push_back({{"offset", piece.box.offset},
                      {"shape", piece.box.shape},
                      {"file", piece.file},
                      {"byte", piece.offset_bytes},
                      {"digest", to_hex(piece.digest)}});
  }
  return {{"name", tensor.name},
          {"dtype", core::name(tensor.dtype)},
          {"shape", tensor.shape},
          {"pieces", std::move(pieces)}};
}

/// Reads values out of the manifest; every refusal names the file and the key.
class Reader {
 public:
  explicit Reader(const std::string& path) : path_(path) {}

  template <typename... Args>
  [[noreturn]] void refuse(fmt::format_string<Args...> format, Args&&... args) const {
    core::fail(core::ExitCode::kBadInput, "{}: {}", path_, fmt::format(format, std::forward<Args>(args)...));
  }

  const OrderedJson& member(const OrderedJson& object, const char* key) const {
    if (!object.is_object()) refuse("an object with \"{}\" was expected", key);
    const auto it = object.find(key);
    if (it == object.end()) refuse("\"{}\" is missing", key);
    return *it;
  }
  int64_t count(const OrderedJson& object, const char* key) const {
    const OrderedJson& value = member(object, key);
    if (!value.is_number_integer() ||
        (value.is_number_unsigned() && value.get<uint64_t>() > uint64_t{1} << 62) ||
        value.get<int64_t>() < 0) {
      refuse("\"{}\" is {} but must be a whole number of at least 0", key, core::printable(value.dump()));
    }
    return value.get<int64_t>();
  }
  std::string text(const OrderedJson& object, const char* key) const {
    const OrderedJson& value = member(object, key);
    if (!value.is_string()) refuse("\"{}\" is {} but must be a string", key, core::printable(value.dump()));
    return value.get<std::string>();
  }
  const OrderedJson& list(const OrderedJson& object, const char* key) const {
    const OrderedJson& value = member(object, key);
    if (!value.is_array()) refuse("\"{}\" must be a list", key);
    return value;
  }
  std::vector<int64_t> sizes(const OrderedJson& object, const char* key) const {
    const OrderedJson& value = list(object, key);
    if (value.size() > kMaxDimensions)
      refuse("\"{}\" has {} dimensions; {} are allowed", key, value.size(), kMaxDimensions);
    std::vector<int64_t> numbers;
    int64_t product = 1;
    for (const OrderedJson& item : value) {
      if (!item.is_number_unsigned() || item.get<uint64_t>() > static_cast<uint64_t>(kMaxElements)) {
        refuse("\"{}\" holds {} but sizes are whole numbers of at most 2^53", key,
               core::printable(item.dump()));
      }
      numbers.push_back(item.get<int64_t>());
      if (numbers.back() > 0 && product > kMaxElements / numbers.back())
        refuse("\"{}\" has more than 2^53 elements", key);
      product *= std::max<int64_t>(numbers.back(), 1);
    }
    return numbers;
  }
  Digest digest(const OrderedJson& object, const char* key) const {
    Digest digest;
    if (!from_hex(text(object, key), digest)) refuse("\"{}\" must be 32 hexadecimal digits", key);
    return digest;
  }

  FileEntry file(const OrderedJson& json) const {
    FileEntry file{
        .name = text(json, "name"), .size_bytes = static_cast<uint64_t>(count(json, "bytes")), .blocks = {}};
    if (file.name.empty() || file.name.find('/') != std::string::npos ||
        file.name.find('\0') != std::string::npos || file.name.front() == '.' || file.name == kManifestName) {
      refuse("file name \"{}\" must be a plain name inside the checkpoint", core::printable(file.name));
    }
    const std::string blocks = text(json, "block_digests");
    if (blocks.size() != 32 * num_blocks(file.size_bytes))
      refuse("{} has the wrong number of block digests", file.name);
    for (size_t i = 0; i < blocks.size(); i += 32) {
      file.blocks.emplace_back();
      if (!from_hex(std::string_view(blocks).substr(i, 32), file.blocks.back()))
        refuse("{}: bad block digest", file.name);
    }
    if (digest(json, "digest") != file_digest(file.blocks))
      refuse("{}: \"digest\" is not that of its blocks", file.name);
    return file;
  }

  TensorEntry tensor(const OrderedJson& json, const Manifest& manifest) const {
    TensorEntry tensor{.name = text(json, "name"), .dtype = {}, .shape = sizes(json, "shape"), .pieces = {}};
    tensor.dtype = dtype(text(json, "dtype"), tensor.name);
    std::vector<Box> boxes;
    for (const OrderedJson& item : list(json, "pieces")) {
      tensor.pieces.push_back(piece(item, tensor, manifest));
      boxes.push_back(tensor.pieces.back().box);
    }
    const std::string problem = why_no_partition(boxes, tensor.shape);
    if (!problem.empty()) refuse("tensor {}: {}", core::printable(tensor.name), problem);
    return tensor;
  }

 private:
  core::DType dtype(const std::string& name, const std::string& tensor) const {
    for (int i = 0; i <= static_cast<int>(core::DType::kBool); ++i) {
      const auto candidate = static_cast<core::DType>(i);
      if (core::name(candidate) == name) return candidate;
    }
    refuse("tensor {}: dtype {} is not known", core::printable(tensor), core::printable(name));
  }

  Piece piece(const OrderedJson& json, const TensorEntry& tensor, const Manifest& manifest) const {
    Piece piece{.box = {sizes(json, "offset"), sizes(json, "shape")},
                .file = text(json, "file"),
                .offset_bytes = static_cast<uint64_t>(count(json, "byte")),
                .digest = digest(json, "digest")};
    if (!is_within(piece.box, tensor.shape))
      refuse("tensor {}: a piece is outside its shape", core::printable(tensor.name));
    const FileEntry* file = manifest.find_file(piece.file);
    if (file == nullptr)
      refuse("tensor {}: file {} is not listed", core::printable(tensor.name), core::printable(piece.file));
    const uint64_t size_bytes = piece.size_bytes(tensor.dtype);
    if (piece.offset_bytes > file->size_bytes || size_bytes > file->size_bytes - piece.offset_bytes) {
      refuse("tensor {}: bytes {} to {} are beyond the end of {}", core::printable(tensor.name),
             piece.offset_bytes, piece.offset_bytes + size_bytes, file->name);
    }
    return piece;
  }

  const std::string& path_;
};

/// The part that the digest covers; refuses a manifest that is not exactly as it was written.
std::string_view checked_body(std::string_view text, const Reader& reader) {
  if (text.size() < kTailBytes) reader.refuse("is cut short ({} bytes)", text.size());
  const std::string_view body = text.substr(0, text.size() - kTailBytes);
  const std::string_view tail = text.substr(body.size());
  Digest digest;
  if (!tail.starts_with(kTailBegin) || !tail.ends_with(kTailEnd) ||
      !from_hex(tail.substr(kTailBegin.size(), 32), digest)) {
    reader.refuse("does not end with its digest: cut short or damaged (in the last {} bytes)", kTailBytes);
  }
  if (digest_of(body) != digest) {
    reader.refuse("is damaged: its {} bytes do not have the digest written in it", body.size());
  }
  return body;
}

}  // namespace

uint64_t Piece::size_bytes(core::DType dtype) const {
  return static_cast<uint64_t>(box.num_elements()) * static_cast<uint64_t>(core::block_bytes(dtype));
}

const TensorEntry* Manifest::find(std::string_view name) const {
  const auto it =
      std::lower_bound(tensors.begin(), tensors.end(), name,
                       [](const TensorEntry& tensor, std::string_view n) { return tensor.name < n; });
  return it != tensors.end() && it->name == name ? &*it : nullptr;
}

const FileEntry* Manifest::find_file(std::string_view name) const {
  const auto it = std::lower_bound(files.begin(), files.end(), name,
                                   [](const FileEntry& file, std::string_view n) { return file.name < n; });
  return it != files.end() && it->name == name ? &*it : nullptr;
}

uint64_t Manifest::tensor_bytes() const {
  uint64_t total = 0;
  for (const TensorEntry& tensor : tensors) {
    for (const Piece& piece : tensor.pieces) total += piece.size_bytes(tensor.dtype);
  }
  return total;
}

std::string to_text(const Manifest& manifest) {
  std::vector<OrderedJson> files, tensors;
  for (const FileEntry& file : manifest.files) files.push_back(file_json(file));
  for (const TensorEntry& tensor : manifest.tensors) tensors.push_back(tensor_json(tensor));
  std::string text = fmt::format(
      "{{\n\"format\": \"{}\",\n\"version\": {},\n\"step\": {},\n\"incarnation\": {},\n\"num_ranks\": {},\n"
      "\"environment\": {},\n\"scalars\": {},\n\"block_bytes\": {},\n\"files\": {},\n\"tensors\": {},\n",
      kFormat, kVersion, manifest.step, manifest.incarnation, manifest.num_ranks, manifest.environment.dump(),
      manifest.scalars.dump(), kBlockBytes, lines(files), lines(tensors));
  const std::string digest = to_hex(digest_of(text));
  return text.append(kTailBegin).append(digest).append(kTailEnd);
}

Manifest parse_manifest(std::string_view text, const std::string& path) {
  const Reader reader(path);
  checked_body(text, reader);
  const OrderedJson json = OrderedJson::parse(text, nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded()) reader.refuse("is not JSON");
  if (reader.text(json, "format") != kFormat) reader.refuse("is not a checkpoint of this program");
  if (const int64_t version = reader.count(json, "version"); version != kVersion) {
    reader.refuse("format version is {} but this program reads {}", version, kVersion);
  }
  if (reader.count(json, "block_bytes") != static_cast<int64_t>(kBlockBytes))
    reader.refuse("\"block_bytes\" must be {}", kBlockBytes);
  Manifest manifest{.step = reader.count(json, "step"),
                    .incarnation = reader.count(json, "incarnation"),
                    .num_ranks = reader.count(json, "num_ranks"),
                    .environment = reader.member(json, "environment"),
                    .scalars = reader.member(json, "scalars"),
                    .files = {},
                    .tensors = {}};
  for (const OrderedJson& item : reader.list(json, "files")) {
    manifest.files.push_back(reader.file(item));
    const size_t count = manifest.files.size();
    if (count > 1 && !(manifest.files[count - 2].name < manifest.files[count - 1].name))
      reader.refuse("\"files\" are not sorted");
  }
  for (const OrderedJson& item : reader.list(json, "tensors")) {
    manifest.tensors.push_back(reader.tensor(item, manifest));
    const size_t count = manifest.tensors.size();
    if (count > 1 && !(manifest.tensors[count - 2].name < manifest.tensors[count - 1].name)) {
      reader.refuse("\"tensors\" are not sorted");
    }
  }
  return manifest;
}

}  // namespace phalanx::checkpoint
