#include "formats/gguf_header.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <limits>
#include <unordered_set>

#include "formats/format_error.h"
#include "formats/tensor_spec.h"

namespace phalanx::formats {
namespace {

using core::DType;
using Kind = FormatErrorKind;

constexpr uint64_t kMaxKeyBytes = 65535, kMaxNameBytes = 63;
constexpr uint32_t kMaxDims = 4, kDefaultAlignment = 32, kMaxAlignment = 1 << 16;
constexpr uint64_t kMinPairBytes = 8 + 1 + 4 + 1, kMinTensorBytes = 8 + 1 + 4 + 8 + 4 + 8;

struct TypeNumber {
  uint32_t number;
  DType dtype;
};
constexpr std::array<TypeNumber, 16> kTensorTypes = {{
    {0, DType::kF32},
    {1, DType::kF16},
    {2, DType::kQ4_0},
    {3, DType::kQ4_1},
    {6, DType::kQ5_0},
    {7, DType::kQ5_1},
    {8, DType::kQ8_0},
    {12, DType::kQ4_K},
    {13, DType::kQ5_K},
    {14, DType::kQ6_K},
    {24, DType::kI8},
    {25, DType::kI16},
    {26, DType::kI32},
    {27, DType::kI64},
    {28, DType::kF64},
    {30, DType::kBF16},
}};

/// Walks over the bytes; every step checks what is left.
class Cursor {
 public:
  explicit Cursor(const GuardedFile& file) : file_(file) {}

  uint64_t offset() const { return offset_; }
  uint64_t left() const { return file_.bytes().size() - offset_; }
  const std::filesystem::path& path() const { return file_.path(); }

  template <typename T>
  T read(std::string_view what) {
    T value;
    std::memcpy(&value, take(sizeof value, what).data(), sizeof value);
    return value;
  }

  std::span<const std::byte> take(uint64_t count, std::string_view what) {
    if (count > left())
      fail_at(Kind::kHeaderTooSmall, path(), offset_,
              "{} needs {} bytes, but the file ends after {}; copy it again", what, count, left());
    const auto bytes = file_.bytes().subspan(offset_, count);
    offset_ += count;
    return bytes;
  }

  std::string_view string(std::string_view what) {
    const auto length = read<uint64_t>(what);
    const auto bytes = take(length, what);
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }

 private:
  const GuardedFile& file_;
  uint64_t offset_ = 0;
};

bool is_utf8(std::string_view text) {
  while (!text.empty()) {
    const size_t length = core::utf8_length(text);
    if (length == 0) return false;
    text.remove_prefix(length);
  }
  return true;
}

void check_magic(Cursor& cursor) {
  if (cursor.left() < 24)
    fail_at(Kind::kHeaderTooSmall, cursor.path(), 0, "has {} bytes, too few for a GGUF file", cursor.left());
  if (std::memcmp(cursor.take(4, "magic").data(), "GGUF", 4) != 0)
    fail_at(Kind::kVersion, cursor.path(), 0, "is not a GGUF file: it does not begin with GGUF");
}

uint32_t read_version(Cursor& cursor) {
  const auto version = cursor.read<uint32_t>("version");
  if ((version & 0xffff) == 0 && version != 0)
    fail_at(Kind::kVersion, cursor.path(), 4, "is a big-endian GGUF file; convert it to little-endian");
  if (version != 2 && version != 3)
    fail_at(Kind::kVersion, cursor.path(), 4, "has GGUF version {}; versions 2 and 3 are read", version);
  return version;
}

uint64_t read_count(Cursor& cursor, std::string_view what, uint64_t min_bytes_each) {
  const uint64_t offset = cursor.offset();
  const auto count = cursor.read<uint64_t>(what);
  if (count > cursor.left() / min_bytes_each)
    fail_at(Kind::kCount, cursor.path(), offset, "{} {} do not fit into the remaining {} bytes", count, what,
            cursor.left());
  return count;
}

std::string read_key(Cursor& cursor) {
  const uint64_t offset = cursor.offset();
  const auto length = cursor.read<uint64_t>("key length");
  if (length == 0 || length > kMaxKeyBytes)
    fail_at(Kind::kKey, cursor.path(), offset, "a key of {} bytes; 1 to {} are allowed", length,
            kMaxKeyBytes);
  const auto bytes = cursor.take(length, "key");
  std::string key(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  if (!is_utf8(key) || key.find('\0') != std::string::npos)
    fail_at(Kind::kKey, cursor.path(), offset, "the key {} is not UTF-8 text without NUL",
            core::printable(key));
  return key;
}

GgufType read_type(Cursor& cursor, std::string_view key) {
  const uint64_t offset = cursor.offset();
  const auto type = cursor.read<uint32_t>("value type");
  if (type > uint32_t(GgufType::kF64))
    fail_at(Kind::kType, cursor.path(), offset, "{} has value type {}; 0 to 12 exist", core::printable(key),
            type);
  return GgufType(type);
}

bool read_bool(Cursor& cursor, std::string_view key) {
  const uint64_t offset = cursor.offset();
  const auto byte = cursor.read<uint8_t>("bool");
  if (byte > 1) fail_at(Kind::kValue, cursor.path(), offset, "the bool {} is {}", core::printable(key), byte);
  return byte == 1;
}

GgufArray read_array(Cursor& cursor, std::string_view key) {
  const uint64_t offset = cursor.offset();
  const GgufType type = read_type(cursor, key);
  if (type == GgufType::kArray)
    fail_at(Kind::kArray, cursor.path(), offset, "{} is an array of arrays, which is not supported",
            core::printable(key));
  const auto count = cursor.read<uint64_t>("array length");
  const uint64_t each = type == GgufType::kString ? 8 : gguf_scalar_bytes(type);
  if (count > cursor.left() / each)
    fail_at(Kind::kArray, cursor.path(), offset,
            "{} has {} elements, more than the remaining {} bytes can hold", core::printable(key), count,
            cursor.left());
  GgufArray array{type, count, {}, {}};
  if (type != GgufType::kString) {
    array.bytes = cursor.take(count * each, "array");
    const auto is_no_bool = [](std::byte byte) { return byte > std::byte{1}; };
    if (type == GgufType::kBool && std::ranges::any_of(array.bytes, is_no_bool))
      fail_at(Kind::kValue, cursor.path(), offset, "{} has a bool that is neither 0 nor 1",
              core::printable(key));
    return array;
  }
  array.strings.reserve(count);
  for (uint64_t i = 0; i < count; ++i) array.strings.push_back(cursor.string("array of strings"));
  return array;
}

GgufValue read_value(Cursor& cursor, std::string_view key) {
  const GgufType type = read_type(cursor, key);
  GgufValue value{type, cursor.offset(), false};
  switch (type) {
    case GgufType::kU8:
      value.value = uint64_t(cursor.read<uint8_t>(key));
      break;
    case GgufType::kI8:
      value.value = int64_t(cursor.read<int8_t>(key));
      break;
    case GgufType::kU16:
      value.value = uint64_t(cursor.read<uint16_t>(key));
      break;
    case GgufType::kI16:
      value.value = int64_t(cursor.read<int16_t>(key));
      break;
    case GgufType::kU32:
      value.value = uint64_t(cursor.read<uint32_t>(key));
      break;
    case GgufType::kI32:
      value.value = int64_t(cursor.read<int32_t>(key));
      break;
    case GgufType::kU64:
      value.value = uint64_t(cursor.read<uint64_t>(key));
      break;
    case GgufType::kI64:
      value.value = int64_t(cursor.read<int64_t>(key));
      break;
    case GgufType::kF32:
      value.value = double(cursor.read<float>(key));
      break;
    case GgufType::kF64:
      value.value = cursor.read<double>(key);
      break;
    case GgufType::kBool:
      value.value = read_bool(cursor, key);
      break;
    case GgufType::kString:
      value.value = cursor.string(core::printable(key));
      break;
    case GgufType::kArray:
      value.value = read_array(cursor, key);
      break;
  }
  return value;
}

GgufMetadata read_metadata(Cursor& cursor, uint64_t count) {
  GgufMetadata metadata(cursor.path());
  for (uint64_t i = 0; i < count; ++i) {
    const uint64_t offset = cursor.offset();
    std::string key = read_key(cursor);
    if (metadata.has(key))
      fail_at(Kind::kDuplicateKey, cursor.path(), offset, "the key {} is there twice", core::printable(key));
    GgufValue value = read_value(cursor, key);
    metadata.insert(std::move(key), std::move(value));
  }
  return metadata;
}

uint64_t read_alignment(const GgufMetadata& metadata) {
  const GgufValue* value = metadata.find("general.alignment");
  if (value == nullptr) return kDefaultAlignment;
  const auto* number = std::get_if<uint64_t>(&value->value);
  const bool valid = value->type == GgufType::kU32 && number != nullptr && *number >= 8 &&
                     *number <= kMaxAlignment && std::has_single_bit(*number);
  if (!valid)
    fail_at(Kind::kAlignment, metadata.path(), value->offset_bytes,
            "general.alignment must be a u32, a power of two from 8 to {}", kMaxAlignment);
  return *number;
}

DType read_tensor_type(Cursor& cursor, const std::string& name) {
  const uint64_t offset = cursor.offset();
  const auto number = cursor.read<uint32_t>("tensor type");
  if (const std::optional<DType> dtype = dtype_of_gguf(number)) return *dtype;
  fail_at(Kind::kTensorType, cursor.path(), offset,
          "tensor {} has type number {}, which is not read; F32, F16, BF16, F64, Q8_0, Q4_0, Q4_1, Q5_0, "
          "Q5_1, Q4_K, "
          "Q6_K and I8 to I64 are: convert the model to one of them",
          core::printable(name), number);
}

std::string read_tensor_name(Cursor& cursor) {
  const uint64_t offset = cursor.offset();
  const auto length = cursor.read<uint64_t>("length of a tensor name");
  if (length == 0 || length > kMaxNameBytes)
    fail_at(Kind::kName, cursor.path(), offset, "a tensor name of {} bytes; 1 to {} are allowed", length,
            kMaxNameBytes);
  const auto bytes = cursor.take(length, "tensor name");
  std::string name(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  if (!is_utf8(name) || name.find('\0') != std::string::npos)
    fail_at(Kind::kName, cursor.path(), offset, "the tensor name {} is not UTF-8 text without NUL",
            core::printable(name));
  return name;
}

std::vector<int64_t> read_shape(Cursor& cursor, const std::string& name) {
  const uint64_t offset = cursor.offset();
  const auto num_dims = cursor.read<uint32_t>("number of dimensions");
  if (num_dims == 0 || num_dims > kMaxDims)
    fail_at(Kind::kDims, cursor.path(), offset, "tensor {} has {} dimensions; 1 to {} are allowed",
            core::printable(name), num_dims, kMaxDims);
  std::vector<int64_t> shape(num_dims);
  for (uint32_t i = 0; i < num_dims; ++i) {
    const auto dimension = cursor.read<uint64_t>("dimension");
    if (dimension == 0 || dimension > uint64_t(std::numeric_limits<int64_t>::max()))
      fail_at(Kind::kOverflow, cursor.path(), offset, "tensor {} has a dimension of {}",
              core::printable(name), dimension);
    shape[num_dims - 1 - i] = int64_t(dimension);  // the file has the fastest dimension first
  }
  return shape;
}

uint64_t size_of(Cursor& cursor, const std::string& name, DType dtype, const std::vector<int64_t>& shape) {
  if (shape.back() % core::block_elements(dtype) != 0)
    fail_at(Kind::kBlock, cursor.path(), cursor.offset(),
            "tensor {} has rows of {} values, but {} needs a multiple of {}", core::printable(name),
            shape.back(), core::name(dtype), core::block_elements(dtype));
  const std::optional<uint64_t> bytes = count_bytes(dtype, shape);
  if (!bytes)
    fail_at(Kind::kOverflow, cursor.path(), cursor.offset(), "tensor {} of shape {} is too large",
            core::printable(name), shape_text(shape));
  return *bytes;
}

/// Reads the entries; offsets are still relative to the data. Tensors follow each other without holes, as
/// every engine demands: the padded end of one is the start of the next.
std::vector<TensorInfo> read_tensors(Cursor& cursor, uint64_t count, uint64_t alignment) {
  std::vector<TensorInfo> tensors;
  tensors.reserve(count);
  std::unordered_set<std::string> names;
  uint64_t expected_offset = 0;
  for (uint64_t i = 0; i < count; ++i) {
    const uint64_t start = cursor.offset();
    TensorInfo tensor{read_tensor_name(cursor), DType::kF32, {}, 0, 0};
    if (!names.insert(tensor.name).second)
      fail_at(Kind::kName, cursor.path(), start, "tensor {} is there twice", core::printable(tensor.name));
    tensor.shape = read_shape(cursor, tensor.name);
    tensor.dtype = read_tensor_type(cursor, tensor.name);
    tensor.size_bytes = size_of(cursor, tensor.name, tensor.dtype, tensor.shape);
    tensor.offset_bytes = cursor.read<uint64_t>("tensor offset");
    if (tensor.offset_bytes != expected_offset)
      fail_at(Kind::kOffset, cursor.path(), cursor.offset() - 8,
              "tensor {} lies at data offset {}, but {} is where the tensor before it ends",
              core::printable(tensor.name), tensor.offset_bytes, expected_offset);
    // A size is below 2^63, so only the running sum can overflow.
    if (__builtin_add_overflow(expected_offset, tensor.size_bytes, &expected_offset) ||
        expected_offset > uint64_t(std::numeric_limits<int64_t>::max()))
      fail_at(Kind::kOverflow, cursor.path(), start, "the tensors up to {} are too large together",
              core::printable(tensor.name));
    expected_offset = (expected_offset + alignment - 1) / alignment * alignment;
    tensors.push_back(std::move(tensor));
  }
  return tensors;
}

void place_data(GgufHeader& header, const Cursor& cursor, uint64_t file_bytes) {
  const uint64_t alignment = header.alignment_bytes;
  header.data_offset_bytes = (cursor.offset() + alignment - 1) / alignment * alignment;
  uint64_t end = header.data_offset_bytes;
  for (TensorInfo& tensor : header.tensors) {
    tensor.offset_bytes += header.data_offset_bytes;
    end = tensor.offset_bytes + tensor.size_bytes;
    if (end > file_bytes)
      fail_at(Kind::kData, cursor.path(), file_bytes,
              "the file ends inside tensor {}, which needs bytes {} to {}; copy it again",
              core::printable(tensor.name), tensor.offset_bytes, end);
  }
  const uint64_t padded_end = (end + alignment - 1) / alignment * alignment;
  header.unused_bytes = file_bytes > padded_end ? file_bytes - padded_end : 0;
}

}  // namespace

GgufHeader parse_gguf_header(const GuardedFile& file) {
  Cursor cursor(file);
  check_magic(cursor);
  const uint32_t version = read_version(cursor);
  // The second count is checked against what is left after it.
  const uint64_t num_tensors = read_count(cursor, "tensors", kMinTensorBytes);
  const uint64_t num_pairs = read_count(cursor, "metadata keys", kMinPairBytes);
  GgufHeader header{version, 0, 0, 0, read_metadata(cursor, num_pairs), {}};
  header.alignment_bytes = read_alignment(header.metadata);
  header.tensors = read_tensors(cursor, num_tensors, header.alignment_bytes);
  place_data(header, cursor, file.bytes().size());
  return header;
}

std::optional<DType> dtype_of_gguf(uint32_t ggml_type) {
  for (const auto& [number, dtype] : kTensorTypes)
    if (number == ggml_type) return dtype;
  return std::nullopt;
}

uint32_t gguf_of_dtype(DType dtype) {
  for (const auto& [number, known] : kTensorTypes)
    if (known == dtype) return number;
  core::fail(core::ExitCode::kBadConfig, "GGUF has no tensors of type {}", core::name(dtype));
}

}  // namespace phalanx::formats
