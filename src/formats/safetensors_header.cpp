#include "formats/safetensors_header.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>

#include "formats/format_error.h"
#include "formats/json_events.h"
#include "formats/tensor_spec.h"

namespace phalanx::formats {
namespace {

using core::DType;
using Kind = FormatErrorKind;

constexpr uint64_t kMaxHeaderBytes = 100'000'000, kMaxMetadataBytes = 16u << 20;
constexpr size_t kMaxTensorDims = 16, kMaxJsonDepth = 64;
constexpr std::array kDTypes = {DType::kF64, DType::kF32, DType::kF16, DType::kBF16, DType::kI64,
                                DType::kI32, DType::kI16, DType::kI8,  DType::kU8,   DType::kBool};

/// One entry of the header while it is read.
struct Entry {
  std::string dtype;
  std::vector<int64_t> shape;
  std::vector<uint64_t> offsets;
  bool has_dtype = false, has_shape = false, has_offsets = false;
};

/// The header's grammar: {"__metadata__": {string: string}, NAME: {"dtype": D, "shape": [..], "data_offsets":
/// [..]}}.
class HeaderHandler : public JsonHandler {
 public:
  HeaderHandler(const std::filesystem::path& path, SafetensorsHeader& header)
      : path_(path), header_(header) {}

  void on_null() override { on_other("null"); }
  void on_bool(bool) override { on_other("a bool"); }
  void on_negative(int64_t) override { on_other("a negative number"); }
  void on_float(double) override { on_other("a number that is no 64-bit integer"); }

  void on_unsigned(uint64_t value) override {
    if (state_ == State::kShape) return add_dimension(value);
    if (state_ == State::kOffsets) {
      if (entry_.offsets.size() == 2)
        fail_in(Kind::kOffset, path_, "{} has more than two data_offsets", tensor());
      return entry_.offsets.push_back(value);
    }
    on_other("a number");
  }

  void on_string(std::string value) override {
    if (state_ == State::kMetadata) {
      metadata_bytes_ += value.size();
      if (metadata_bytes_ > kMaxMetadataBytes)
        fail_in(Kind::kMetadata, path_, "has more than {} bytes of metadata", kMaxMetadataBytes);
      header_.metadata.emplace(std::move(key_), std::move(value));
      return;
    }
    if (state_ == State::kTensor && key_ == "dtype") {
      entry_.dtype = std::move(value);
      return;
    }
    on_other("a string");
  }

  void on_key(std::string key) override {
    if (state_ == State::kTop) name_ = key;
    if (state_ == State::kMetadata && header_.metadata.contains(key)) duplicate(key);
    if (state_ == State::kTensor) note_field(key);
    key_ = std::move(key);
  }

  void on_begin(bool is_object) override {
    if (++depth_ > kMaxJsonDepth) fail_in(Kind::kDepth, path_, "the header is nested too deeply");
    if (state_ == State::kStart && is_object) {
      state_ = State::kTop;
    } else if (state_ == State::kTop && key_ == "__metadata__") {
      if (!is_object || has_metadata_)
        fail_in(Kind::kMetadata, path_, "__metadata__ must be one object of strings");
      has_metadata_ = true;
      state_ = State::kMetadata;
    } else if (state_ == State::kTop && is_object) {
      entry_ = {};
      state_ = State::kTensor;
    } else if (state_ == State::kTensor && is_known(key_)) {
      if (is_object || key_ == "dtype") on_other(is_object ? "an object" : "an array");
      state_ = key_ == "shape" ? State::kShape : State::kOffsets;
    } else if (state_ == State::kTensor || state_ == State::kSkip) {
      if (skipped_++ == 0) state_ = State::kSkip;
    } else {
      on_other(is_object ? "an object" : "an array");
    }
  }

  void on_end() override {
    --depth_;
    switch (state_) {
      case State::kTop:
        state_ = State::kDone;
        break;
      case State::kMetadata:
        state_ = State::kTop;
        break;
      case State::kTensor:
        finish_tensor();
        state_ = State::kTop;
        break;
      case State::kShape:
      case State::kOffsets:
        state_ = State::kTensor;
        break;
      case State::kSkip:
        if (--skipped_ == 0) state_ = State::kTensor;
        break;
      default:
        break;
    }
  }

 private:
  enum class State { kStart, kTop, kMetadata, kTensor, kShape, kOffsets, kSkip, kDone };

  std::string tensor() const { return fmt::format("tensor \"{}\"", core::printable(name_)); }
  static bool is_known(std::string_view key) {
    return key == "dtype" || key == "shape" || key == "data_offsets";
  }

  [[noreturn]] void duplicate(std::string_view key) {
    fail_in(Kind::kDuplicateKey, path_, "the header has \"{}\" twice", core::printable(key));
  }

  void note_field(std::string_view key) {
    if (!is_known(key)) return;
    bool& seen = key == "dtype" ? entry_.has_dtype : key == "shape" ? entry_.has_shape : entry_.has_offsets;
    if (seen) duplicate(name_ + "." + std::string(key));
    seen = true;
  }

  void add_dimension(uint64_t value) {
    if (value > uint64_t(std::numeric_limits<int64_t>::max()))
      fail_in(Kind::kShape, path_, "{} has a dimension of {}", tensor(), value);
    if (entry_.shape.size() == kMaxTensorDims)
      fail_in(Kind::kShape, path_, "{} has more than {} dimensions", tensor(), kMaxTensorDims);
    entry_.shape.push_back(int64_t(value));
  }

  /// A value that has no place here, unless it belongs to a field that we do not know.
  void on_other(std::string_view found) {
    switch (state_) {
      case State::kStart:
        fail_in(Kind::kInvalidJson, path_, "the header is {}, but must be an object", found);
      case State::kTop:
        if (key_ == "__metadata__")
          fail_in(Kind::kMetadata, path_, "__metadata__ is {}, but must be an object", found);
        fail_in(Kind::kInvalidHeader, path_, "{} is {}, but must be an object", tensor(), found);
      case State::kMetadata:
        fail_in(Kind::kMetadata, path_, "__metadata__.{} is {}, but must be a string", core::printable(key_),
                found);
      case State::kShape:
        fail_in(Kind::kShape, path_, "{} has {} in its shape", tensor(), found);
      case State::kOffsets:
        fail_in(Kind::kOffset, path_, "{} has {} in its data_offsets", tensor(), found);
      case State::kTensor:
        if (!is_known(key_)) return;
        fail_in(key_ == "dtype"   ? Kind::kDtype
                : key_ == "shape" ? Kind::kShape
                                  : Kind::kOffset,
                path_, "{}: {} is {}", tensor(), key_, found);
      default:
        return;
    }
  }

  DType dtype() const {
    for (const DType candidate : kDTypes)
      if (core::name(candidate) == entry_.dtype) return candidate;
    fail_in(Kind::kDtype, path_,
            "{} has dtype \"{}\"; F64, F32, F16, BF16, I64, I32, I16, I8, U8 and BOOL are read", tensor(),
            core::printable(entry_.dtype));
  }

  void finish_tensor() {
    if (!entry_.has_dtype || !entry_.has_shape || !entry_.has_offsets)
      fail_in(Kind::kInvalidHeader, path_, "{} lacks dtype, shape or data_offsets", tensor());
    if (entry_.offsets.size() != 2 || entry_.offsets[0] > entry_.offsets[1])
      fail_in(Kind::kOffset, path_, "{} needs data_offsets [begin, end] with begin <= end", tensor());
    const DType type = dtype();
    const std::optional<uint64_t> expected = count_bytes(type, entry_.shape);
    if (!expected)
      fail_in(Kind::kOverflow, path_, "{} of shape {} is too large", tensor(), shape_text(entry_.shape));
    const uint64_t size = entry_.offsets[1] - entry_.offsets[0];
    if (size != *expected)
      fail_in(size == 0 ? Kind::kOffset : Kind::kSizeMismatch, path_,
              "{} has {} bytes between its data_offsets, but {} {} needs {}", tensor(), size,
              core::name(type), shape_text(entry_.shape), *expected);
    header_.tensors.push_back({name_, type, std::move(entry_.shape), entry_.offsets[0], size});
  }

  const std::filesystem::path& path_;
  SafetensorsHeader& header_;
  State state_ = State::kStart;
  Entry entry_;
  std::string name_, key_;
  size_t depth_ = 0, skipped_ = 0;
  uint64_t metadata_bytes_ = 0;
  bool has_metadata_ = false;
};

uint64_t read_header_length(const GuardedFile& file) {
  const uint64_t file_bytes = file.bytes().size();
  if (file_bytes < 8)
    fail_at(Kind::kHeaderTooSmall, file.path(), 0, "has {} bytes, too few for a safetensors file",
            file_bytes);
  uint64_t length = 0;
  std::memcpy(&length, file.bytes().data(), 8);
  if (length > kMaxHeaderBytes)
    fail_at(Kind::kHeaderTooLarge, file.path(), 0,
            "says its header has {} bytes; {} are allowed (is it a safetensors "
            "file?)",
            length, kMaxHeaderBytes);
  if (length > file_bytes - 8)
    fail_at(Kind::kInvalidHeaderLength, file.path(), 0,
            "says its header has {} bytes, but {} are there; copy it again", length, file_bytes - 8);
  if (length == 0) fail_at(Kind::kInvalidHeader, file.path(), 0, "has an empty header");
  return length;
}

void check_unique_names(const std::vector<TensorInfo>& tensors, const std::filesystem::path& path) {
  std::vector<const std::string*> names;
  names.reserve(tensors.size());
  for (const TensorInfo& tensor : tensors) names.push_back(&tensor.name);
  std::ranges::sort(names, {}, [](const std::string* name) -> const std::string& { return *name; });
  const auto twice = std::ranges::adjacent_find(names, [](auto* a, auto* b) { return *a == *b; });
  if (twice != names.end())
    fail_in(Kind::kDuplicateKey, path, "the header has tensor \"{}\" twice", core::printable(**twice));
}

void check_coverage(const std::vector<TensorInfo>& tensors, uint64_t buffer_bytes,
                    const std::filesystem::path& path) {
  uint64_t end = 0;
  for (const TensorInfo& tensor : tensors) {
    const uint64_t begin = tensor.offset_bytes;
    if (begin < end)
      fail_in(Kind::kOverlap, path, "tensor \"{}\" overlaps the one before it", core::printable(tensor.name));
    if (begin > buffer_bytes)
      fail_in(Kind::kOffset, path, "tensor \"{}\" begins behind the end of the file",
              core::printable(tensor.name));
    if (begin > end)
      fail_in(Kind::kIncompleteCoverage, path, "{} bytes before tensor \"{}\" belong to no tensor",
              begin - end, core::printable(tensor.name));
    end = begin + tensor.size_bytes;  // both below 2^63
  }
  if (end > buffer_bytes)
    fail_in(Kind::kIncompleteCoverage, path, "the file ends {} bytes too early; copy it again",
            end - buffer_bytes);
  if (end < buffer_bytes)
    fail_in(Kind::kIncompleteCoverage, path, "{} bytes after the last tensor belong to no tensor",
            buffer_bytes - end);
}

}  // namespace

SafetensorsHeader parse_safetensors_header(const GuardedFile& file) {
  const uint64_t length = read_header_length(file);
  SafetensorsHeader header;
  HeaderHandler handler(file.path(), header);
  parse_json_events(file.text().substr(8, length), file.path(), 8, handler);
  check_unique_names(header.tensors, file.path());
  std::ranges::sort(header.tensors, {}, [](const TensorInfo& t) {
    return std::pair(t.offset_bytes,
                     t.size_bytes);  // an empty tensor stands before the one that shares its offset
  });
  check_coverage(header.tensors, file.bytes().size() - 8 - length, file.path());
  for (TensorInfo& tensor : header.tensors) tensor.offset_bytes += 8 + length;
  return header;
}

}  // namespace phalanx::formats
