#include "formats/safetensors.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "core/error.h"

namespace phalanx::formats {
namespace {

using core::DType;

uint64_t bytes_of(const TensorSpec& tensor) {
  const std::optional<uint64_t> bytes = count_bytes(tensor.dtype, tensor.shape);
  if (!bytes || core::is_quantised(tensor.dtype))
    core::fail(core::ExitCode::kBug, "tensor {} of type {} and shape {} does not fit into safetensors",
               core::printable(tensor.name), core::name(tensor.dtype), shape_text(tensor.shape));
  return *bytes;
}

/// The reference's order of types: by size, and among equals as its own enumeration has them.
constexpr std::array kTypeOrder = {DType::kI64, DType::kF64, DType::kF32, DType::kI32, DType::kBF16,
                                   DType::kF16, DType::kI16, DType::kI8,  DType::kU8,  DType::kBool};

std::vector<TensorSpec> in_file_order(std::vector<TensorSpec> tensors) {
  std::ranges::sort(tensors, {}, [](const TensorSpec& tensor) {
    return std::pair(std::ranges::find(kTypeOrder, tensor.dtype), tensor.name);
  });
  return tensors;
}

}  // namespace

SafetensorsFile::SafetensorsFile(const std::filesystem::path& path)
    : file_(path), header_(parse_safetensors_header(file_)) {}

std::span<const std::byte> SafetensorsFile::bytes(const TensorInfo& tensor) const {
  return file_.bytes().subspan(tensor.offset_bytes, tensor.size_bytes);
}

SafetensorsWriter::SafetensorsWriter(const std::filesystem::path& path, std::vector<TensorSpec> tensors,
                                     const std::map<std::string, std::string>& metadata)
    : SafetensorsWriter(path, tensors, metadata, WriterShare(tensors, {}), OutputFile::Role::kCreate) {}

SafetensorsWriter::SafetensorsWriter(const std::filesystem::path& path, std::vector<TensorSpec> tensors,
                                     const std::map<std::string, std::string>& metadata,
                                     const WriterShare& share, OutputFile::Role role)
    : SingleFileWriter(share), tensors_(in_file_order(std::move(tensors))), file_(path, role) {
  std::string text = metadata.empty() ? "{" : "{\"__metadata__\":" + nlohmann::json(metadata).dump();
  uint64_t end = 0;
  for (const TensorSpec& tensor : tensors_) {
    const uint64_t begin = end;
    end += bytes_of(tensor);
    offsets_.push_back(begin);
    text += fmt::format("{}{}:{{\"dtype\":\"{}\",\"shape\":{},\"data_offsets\":[{},{}]}}",
                        text.size() > 1 ? "," : "", nlohmann::json(tensor.name).dump(),
                        core::name(tensor.dtype), nlohmann::json(tensor.shape).dump(), begin, end);
  }
  text += "}";
  text.resize((text.size() + 7) / 8 * 8, ' ');
  const uint64_t length = text.size();
  for (uint64_t& offset : offsets_) offset += 8 + length;
  if (role == OutputFile::Role::kJoin) return;
  file_.reserve(8 + length + end);
  file_.write_at(0, std::as_bytes(std::span(&length, 1)));
  file_.write_at(8, text);
}

void SafetensorsWriter::write_part(size_t index, uint64_t offset_bytes, std::span<const std::byte> bytes) {
  file_.write_at(offsets_[index] + offset_bytes, bytes);
}

void SafetensorsWriter::sync() {
  check_all_written();
  file_.sync();
}

void SafetensorsWriter::finish() {
  sync();
  publish();
}

}  // namespace phalanx::formats
