#include "formats/gguf_writer.h"

#include "core/error.h"
#include "formats/gguf_header.h"

namespace phalanx::formats {
namespace {

constexpr uint64_t kAlignment = 32;
constexpr size_t kMaxWrittenNameBytes = 63, kMaxWrittenDims = 4;

template <typename T>
void append(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}

void append(std::string& out, std::string_view text) {
  append(out, uint64_t(text.size()));
  out.append(text);
}

uint64_t padded(uint64_t bytes) {
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

uint64_t checked_bytes(const TensorSpec& tensor) {
  const std::string name = core::printable(tensor.name);
  if (tensor.name.empty() || tensor.name.size() > kMaxWrittenNameBytes)
    core::fail(core::ExitCode::kBadConfig, "tensor name {} has {} bytes; GGUF allows 1 to {}", name,
               tensor.name.size(), kMaxWrittenNameBytes);
  if (tensor.shape.empty() || tensor.shape.size() > kMaxWrittenDims)
    core::fail(core::ExitCode::kBadConfig, "tensor {} has {} dimensions; GGUF allows 1 to {}", name,
               tensor.shape.size(), kMaxWrittenDims);
  if (tensor.shape.back() % core::block_elements(tensor.dtype) != 0)
    core::fail(core::ExitCode::kBadConfig,
               "tensor {} has rows of {} values, and {} needs a multiple of {}; export it as F16 or F32",
               name, tensor.shape.back(), core::name(tensor.dtype), core::block_elements(tensor.dtype));
  const std::optional<uint64_t> bytes = count_bytes(tensor.dtype, tensor.shape);
  if (!bytes || *bytes == 0)
    core::fail(core::ExitCode::kBug, "tensor {} has shape {}, which GGUF cannot hold", name,
               shape_text(tensor.shape));
  return *bytes;
}

}  // namespace

GgufPairs& GgufPairs::begin(std::string_view key, GgufType type) {
  if (!keys_.emplace(key).second) core::fail(core::ExitCode::kBug, "metadata key {} is set twice", key);
  append(bytes_, key);
  append(bytes_, uint32_t(type));
  return *this;
}

GgufPairs& GgufPairs::begin_array(std::string_view key, GgufType type, uint64_t count) {
  begin(key, GgufType::kArray);
  append(bytes_, uint32_t(type));
  append(bytes_, count);
  return *this;
}

GgufPairs& GgufPairs::u16(std::string_view key, uint16_t value) {
  append(begin(key, GgufType::kU16).bytes_, value);
  return *this;
}

GgufPairs& GgufPairs::u32(std::string_view key, uint32_t value) {
  append(begin(key, GgufType::kU32).bytes_, value);
  return *this;
}

GgufPairs& GgufPairs::i32(std::string_view key, int32_t value) {
  append(begin(key, GgufType::kI32).bytes_, value);
  return *this;
}

GgufPairs& GgufPairs::u64(std::string_view key, uint64_t value) {
  append(begin(key, GgufType::kU64).bytes_, value);
  return *this;
}

GgufPairs& GgufPairs::f32(std::string_view key, float value) {
  append(begin(key, GgufType::kF32).bytes_, value);
  return *this;
}

GgufPairs& GgufPairs::boolean(std::string_view key, bool value) {
  append(begin(key, GgufType::kBool).bytes_, uint8_t(value));
  return *this;
}

GgufPairs& GgufPairs::text(std::string_view key, std::string_view value) {
  append(begin(key, GgufType::kString).bytes_, value);
  return *this;
}

GgufPairs& GgufPairs::texts(std::string_view key, std::span<const std::string> values) {
  begin_array(key, GgufType::kString, values.size());
  for (const std::string& value : values) append(bytes_, std::string_view(value));
  return *this;
}

GgufPairs& GgufPairs::i32s(std::string_view key, std::span<const int32_t> values) {
  begin_array(key, GgufType::kI32, values.size());
  for (const int32_t value : values) append(bytes_, value);
  return *this;
}

GgufPairs& GgufPairs::f32s(std::string_view key, std::span<const float> values) {
  begin_array(key, GgufType::kF32, values.size());
  for (const float value : values) append(bytes_, value);
  return *this;
}

GgufPairs& GgufPairs::copy(std::string_view key, const GgufValue& value) {
  if (const auto* array = std::get_if<GgufArray>(&value.value)) {
    begin_array(key, array->element_type, array->count);
    bytes_.append(reinterpret_cast<const char*>(array->bytes.data()), array->bytes.size());
    for (const std::string_view text : array->strings) append(bytes_, text);
    return *this;
  }
  if (const auto* text = std::get_if<std::string_view>(&value.value)) return this->text(key, *text);
  if (const auto* flag = std::get_if<bool>(&value.value)) return boolean(key, *flag);
  begin(key, value.type);
  if (value.type == GgufType::kF32) {
    append(bytes_, float(std::get<double>(value.value)));
  } else if (value.type == GgufType::kF64) {
    append(bytes_, std::get<double>(value.value));
  } else {  // little-endian integers: the low bytes are the narrow value
    const auto* negative = std::get_if<int64_t>(&value.value);
    const uint64_t bits = negative != nullptr ? uint64_t(*negative) : std::get<uint64_t>(value.value);
    bytes_.append(reinterpret_cast<const char*>(&bits), gguf_scalar_bytes(value.type));
  }
  return *this;
}

GgufWriter::GgufWriter(const std::filesystem::path& path, std::vector<TensorSpec> tensors,
                       const GgufPairs& metadata, WriterRank rank)
    : SingleFileWriter(WriterShare(tensors, rank)), rank_(std::move(rank)), tensors_(std::move(tensors)) {
  std::string header = "GGUF";
  append(header, uint32_t{3});
  append(header, uint64_t(tensors_.size()));
  append(header, uint64_t(metadata.count()));
  header += metadata.bytes();
  uint64_t end = 0;
  for (const TensorSpec& tensor : tensors_) {
    const uint64_t bytes = checked_bytes(tensor);
    append(header, std::string_view(tensor.name));
    append(header, uint32_t(tensor.shape.size()));
    for (size_t i = tensor.shape.size(); i-- > 0;) append(header, uint64_t(tensor.shape[i]));
    append(header, gguf_of_dtype(tensor.dtype));
    append(header, end);
    offsets_.push_back(end);
    end += padded(bytes);
  }
  const uint64_t data_offset = padded(header.size());
  for (uint64_t& offset : offsets_) offset += data_offset;
  rank_.wait_before_opening();
  file_.emplace(path, rank_.is_first() ? OutputFile::Role::kCreate : OutputFile::Role::kJoin);
  if (rank_.is_first()) {
    file_->reserve(data_offset + end);
    file_->write_at(0, header);
  }
  rank_.let_others_open();
}

void GgufWriter::write_part(size_t index, uint64_t offset_bytes, std::span<const std::byte> bytes) {
  file_->write_at(offsets_[index] + offset_bytes, bytes);
}

void GgufWriter::finish() {
  check_all_written();
  file_->sync();
  rank_.barrier();
  if (rank_.is_first()) file_->publish();
  rank_.barrier();
}

}  // namespace phalanx::formats
