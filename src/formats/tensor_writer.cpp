#include "formats/tensor_writer.h"

#include "core/error.h"
#include "formats/tensor_file.h"

namespace phalanx::formats {
namespace {
constexpr int64_t kPieceElements = 1 << 21;  // a multiple of every block
}

size_t SingleFileWriter::claim(std::string_view name) {
  const std::vector<TensorSpec>& specs = tensors();
  if (index_of_.empty()) {
    for (size_t i = 0; i < specs.size(); ++i) index_of_.emplace(specs[i].name, i);
    written_.resize(specs.size());
  }
  const auto found = index_of_.find(name);
  if (found == index_of_.end())
    core::fail(core::ExitCode::kBug, "tensor {} was not announced to the writer", core::printable(name));
  if (written_[found->second])
    core::fail(core::ExitCode::kBug, "tensor {} is written twice", core::printable(name));
  if (!is_mine(name))
    core::fail(core::ExitCode::kBug, "tensor {} is for another rank to write", core::printable(name));
  written_[found->second] = true;
  return found->second;
}

void SingleFileWriter::write(std::string_view name, std::span<const std::byte> bytes) {
  const size_t index = claim(name);
  const TensorSpec& spec = tensors()[index];
  if (bytes.size() != count_bytes(spec.dtype, spec.shape))
    core::fail(core::ExitCode::kBug, "tensor {} of shape {} {} is written with {} bytes",
               core::printable(name), core::name(spec.dtype), shape_text(spec.shape), bytes.size());
  write_part(index, 0, bytes);
}

void SingleFileWriter::write_floats(std::string_view name, std::span<const float> values,
                                    std::span<const float> importance) {
  const size_t index = claim(name);
  const TensorSpec& spec = tensors()[index];
  if (values.size() != count_elements(spec.shape))
    core::fail(core::ExitCode::kBug, "tensor {} of shape {} is written with {} values", core::printable(name),
               shape_text(spec.shape), values.size());
  std::vector<std::byte> piece;
  uint64_t offset = 0;
  const int64_t row = importance.empty() ? 1 : int64_t(importance.size());
  const int64_t step = std::max<int64_t>(1, kPieceElements / row) * row;  // whole rows
  for (int64_t first = 0; first < int64_t(values.size()); first += step) {
    const int64_t count = std::min(step, int64_t(values.size()) - first);
    piece.resize(size_t(count / core::block_elements(spec.dtype) * core::block_bytes(spec.dtype)));
    from_float(spec.dtype, values.data() + first, count, piece.data(), importance);
    write_part(index, offset, piece);
    offset += piece.size();
  }
}

void SingleFileWriter::check_all_written() const {
  const std::vector<TensorSpec>& specs = tensors();
  for (size_t i = 0; i < specs.size(); ++i)
    if (is_mine(specs[i].name) && (i >= written_.size() || !written_[i]))
      core::fail(core::ExitCode::kBug, "tensor {} was announced, but never written",
                 core::printable(specs[i].name));
}

}  // namespace phalanx::formats
