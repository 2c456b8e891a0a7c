#include "model/stored_weights.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <c10/core/GradMode.h>
#include <c10/util/BFloat16.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <map>
#include <span>

#include "core/error.h"
#include "core/memory.h"
#include "core/vector_clones.h"
#include "formats/tensor_spec.h"

namespace phalanx::model {
namespace {

using core::DType;
using formats::TensorInfo;

constexpr int64_t kChunkElements =
    1 << 16;                              // 256 kB of fp32: stays in the cache between decoding and rounding
constexpr size_t kWindowBytes = 8 << 20;  // of a file, mapped at a time

constexpr uint64_t kAlwaysTried = uint64_t{1} << 30;  // not worth asking how much memory there is

struct Pairing {
  const TensorInfo* info;
  at::Tensor parameter;
  Part part;  // of the stored tensor

  // Rows and columns of the stored tensor, whose last dimension is stored densely, and where the part lies in
  // them.
  int64_t stored_columns() const { return part.shape.empty() ? 1 : part.shape.back(); }
  int64_t columns() const { return part.shape.empty() ? 1 : parameter.size(-1); }
  int64_t rows() const { return columns() == 0 ? 0 : parameter.numel() / columns(); }
  int64_t first_column() const { return part.offset.empty() ? 0 : part.offset.back(); }
  int64_t first_row() const { return part.offset.size() == 2 ? part.offset.front() : 0; }
};

Pairing pairing_of(const TensorInfo& info, const std::string& name, const at::Tensor& parameter,
                   const NamedParts& parts) {
  const auto found = parts.find(name);
  if (found == parts.end())
    return {&info, parameter, {info.shape, std::vector<int64_t>(info.shape.size(), 0)}};
  TORCH_CHECK(found->second.shape.size() <= 2, "only vectors and matrices are read in parts, not ", name);
  return {&info, parameter, found->second};
}

bool is_float(DType dtype) {
  return core::is_quantised(dtype) || dtype == DType::kF64 || dtype == DType::kF32 || dtype == DType::kF16 ||
         dtype == DType::kBF16;
}

// Buffers that older versions of transformers stored beside the weights; they follow from the config.
bool is_derived(const std::string& name) {
  return name.ends_with(".rotary_emb.inv_freq") || name.ends_with(".attn.bias") ||
         name.ends_with(".attn.masked_bias");
}

// A tied output matrix that is stored all the same, as some writers do: fine if it holds the same bytes.
bool is_same_as_embedding(const TensorInfo& info, const formats::TensorFile& file) {
  const TensorInfo* embedding = file.find("model.embed_tokens.weight");
  if (info.name != "lm_head.weight" || !embedding || embedding->dtype != info.dtype) return false;
  const auto a = file.bytes(info), b = file.bytes(*embedding);
  return std::equal(a.begin(), a.end(), b.begin(), b.end());
}

void check_pair(const TensorInfo& info, const std::vector<int64_t>& wanted,
                std::vector<std::string>& problems) {
  if (info.shape != wanted) {
    problems.push_back(fmt::format("{} has the shape {}, the config asks for {}", info.name,
                                   formats::shape_text(info.shape), formats::shape_text(wanted)));
  } else if (!is_float(info.dtype)) {
    problems.push_back(
        fmt::format("{} is {}, not a floating-point or quantised type", info.name, core::name(info.dtype)));
  }
}

// Every parameter has its stored tensor and the other way round, or one error says everything that does not
// fit.
void pair_up(const NamedTensors& parameters, const formats::TensorFile& file, const std::string& where) {
  std::map<std::string, const TensorInfo*> left;
  for (const TensorInfo& info : file.tensors()) left.emplace(info.name, &info);
  std::vector<std::string> problems;
  for (const auto& [name, parameter] : parameters) {
    const auto found = left.find(name);
    if (found == left.end()) {
      problems.push_back(fmt::format("{} is missing", name));
      continue;
    }
    check_pair(*found->second, parameter.sizes().vec(), problems);
    left.erase(found);
  }
  for (const auto& [name, info] : left) {
    if (is_derived(name) || is_same_as_embedding(*info, file)) continue;
    problems.push_back(fmt::format("{} is not part of this model", core::printable(name)));
  }
  if (!problems.empty()) {
    core::fail(core::ExitCode::kBadInput, "{}: the weights do not fit the config: {}", where,
               fmt::join(problems, "; "));
  }
}

/// Some rows of a part.
struct Chunk {
  const Pairing* pairing;
  const std::byte* stored;                 // of the whole tensor
  int64_t begin, end;                      // rows
  std::span<const std::byte> window = {};  // what this and the next chunks read, given to the first of them
};

// Integers only, so that the bits are the same with all widths.
PHX_VECTOR_CLONES uint32_t largest_magnitude(const uint32_t* bits, size_t count) {
  uint32_t largest = 0;
  for (size_t i = 0; i < count; ++i) largest = std::max(largest, bits[i] & 0x7FFFFFFFU);
  return largest;
}
PHX_VECTOR_CLONES uint16_t largest_magnitude(const uint16_t* bits, size_t count) {
  uint16_t largest = 0;
  for (size_t i = 0; i < count; ++i) largest = std::max(largest, static_cast<uint16_t>(bits[i] & 0x7FFFU));
  return largest;
}
PHX_VECTOR_CLONES uint64_t largest_magnitude(const uint64_t* bits, size_t count) {
  uint64_t largest = 0;
  for (size_t i = 0; i < count; ++i) largest = std::max(largest, bits[i] & 0x7FFFFFFFFFFFFFFFU);
  return largest;
}

PHX_VECTOR_CLONES void round_to_bfloat16(const uint32_t* bits, size_t count,
                                         uint16_t* out) {  // to nearest even
  for (size_t i = 0; i < count; ++i)
    out[i] = static_cast<uint16_t>((bits[i] + 0x7FFFU + ((bits[i] >> 16) & 1U)) >> 16);
}

const uint32_t* bits_of(std::span<const float> values) {
  return reinterpret_cast<const uint32_t*>(values.data());
}

bool all_finite(
    std::span<const float> values) {  // without the sign, infinities and NaNs are the largest bits
  return largest_magnitude(bits_of(values), values.size()) < 0x7F800000U;
}

void convert(std::span<const float> source, float* out) {
  std::memcpy(out, source.data(), source.size_bytes());
}
void convert(std::span<const float> source, double* out) {
  std::copy(source.begin(), source.end(), out);
}
void convert(std::span<const float> source, at::BFloat16* out) {
  round_to_bfloat16(bits_of(source), source.size(), reinterpret_cast<uint16_t*>(out));
}

[[noreturn]] void refuse_not_finite(const TensorInfo& info, const std::string& where) {
  core::fail(core::ExitCode::kBadInput,
             "{}: tensor {} holds values that are not finite (NaN or infinity); the file is damaged, or its "
             "training "
             "diverged",
             where, core::printable(info.name));
}

// Bytes of the stored rows of a chunk, whole: rows are whole blocks of a quantised type.
const std::byte* stored_rows(const Chunk& chunk) {
  const DType dtype = chunk.pairing->info->dtype;
  const int64_t first = (chunk.pairing->first_row() + chunk.begin) * chunk.pairing->stored_columns();
  return chunk.stored + first / core::block_elements(dtype) * core::block_bytes(dtype);
}

std::span<const std::byte> stored_bytes(const Chunk& chunk) {
  const DType dtype = chunk.pairing->info->dtype;
  const int64_t values = (chunk.end - chunk.begin) * chunk.pairing->stored_columns();
  return {stored_rows(chunk),
          static_cast<size_t>(values / core::block_elements(dtype) * core::block_bytes(dtype))};
}

std::vector<Chunk> cut(const std::vector<Pairing>& pairs, const formats::TensorFile& file) {
  std::vector<Chunk> chunks;
  for (const Pairing& pairing : pairs) {
    const int64_t rows = pairing.rows();
    const int64_t step =
        std::max<int64_t>(1, kChunkElements / std::max<int64_t>(1, pairing.stored_columns()));
    const auto bytes = file.bytes(*pairing.info);
    const std::byte* mapped = bytes.data();  // up to here
    for (int64_t begin = 0; begin < rows; begin += step) {
      chunks.push_back({&pairing, bytes.data(), begin, std::min(begin + step, rows)});
      if (stored_rows(chunks.back()) < mapped) continue;
      const auto rest = stored_bytes({&pairing, bytes.data(), begin, rows});
      chunks.back().window = rest.first(std::min(rest.size(), kWindowBytes));
      mapped = chunks.back().window.data() + chunks.back().window.size();
    }
  }
  return chunks;
}

// The columns of the part, moved to the front of `values`.
void keep_columns(const Pairing& pairing, int64_t rows, std::vector<float>& values) {
  const int64_t stored = pairing.stored_columns(), count = pairing.columns();
  if (count == stored) return;
  for (int64_t row = 0; row < rows; ++row)
    std::memmove(values.data() + row * count, values.data() + row * stored + pairing.first_column(),
                 static_cast<size_t>(count) * sizeof(float));
  values.resize(rows * count);
}

template <typename T>
void decode(const Chunk& chunk, const std::string& where) {
  const Pairing& pairing = *chunk.pairing;
  const int64_t rows = chunk.end - chunk.begin, stored = rows * pairing.stored_columns();
  static thread_local std::vector<float> values;
  values.resize(stored);
  formats::to_float(pairing.info->dtype, stored_rows(chunk), stored, values.data());
  keep_columns(pairing, rows, values);
  if (!all_finite(values)) refuse_not_finite(*pairing.info, where);
  convert(values, pairing.parameter.template mutable_data_ptr<T>() + chunk.begin * pairing.columns());
}

/// Stored in the type of the parameter: nothing to decode, and all bits are kept. `infinity` as bits.
template <typename Word>
void copy_as_stored(const Chunk& chunk, Word infinity, const std::string& where) {
  const Pairing& pairing = *chunk.pairing;
  const int64_t columns = pairing.columns(), stored = pairing.stored_columns(),
                rows = chunk.end - chunk.begin;
  Word* out = static_cast<Word*>(pairing.parameter.mutable_data_ptr()) + chunk.begin * columns;
  const std::byte* source = stored_rows(chunk) + pairing.first_column() * static_cast<int64_t>(sizeof(Word));
  const int64_t runs = columns == stored ? 1 : rows, length = columns == stored ? rows * columns : columns;
  for (int64_t run = 0; run < runs; ++run)
    std::memcpy(out + run * length, source + run * stored * static_cast<int64_t>(sizeof(Word)),
                static_cast<size_t>(length) * sizeof(Word));
  if (largest_magnitude(out, static_cast<size_t>(rows * columns)) >= infinity)
    refuse_not_finite(*pairing.info, where);
}

void decode_chunk(const Chunk& chunk, const std::string& where) {
  const DType stored = chunk.pairing->info->dtype;
  switch (chunk.pairing->parameter.scalar_type()) {
    case at::kBFloat16:
      return stored == DType::kBF16 ? copy_as_stored<uint16_t>(chunk, 0x7F80, where)
                                    : decode<at::BFloat16>(chunk, where);
    case at::kDouble:
      return stored == DType::kF64 ? copy_as_stored<uint64_t>(chunk, 0x7FF0000000000000, where)
                                   : decode<double>(chunk, where);
    default:
      return stored == DType::kF32 ? copy_as_stored<uint32_t>(chunk, 0x7F800000, where)
                                   : decode<float>(chunk, where);
  }
}

/// Before they are allocated: the kernel would promise them, and end the process when they are filled.
void require_memory(const std::vector<Pairing>& pairs, at::ScalarType dtype, const std::string& where) {
  int64_t elements = 0;
  for (const Pairing& pairing : pairs)
    if (!is_allocated(pairing.parameter)) elements += pairing.parameter.numel();
  const uint64_t bytes = static_cast<uint64_t>(elements) * c10::elementSize(dtype);
  if (bytes < kAlwaysTried) return;
  const uint64_t memory_bytes = core::total_memory_bytes();
  if (memory_bytes == 0 || bytes <= memory_bytes) return;
  const double gib = 1 << 30;
  core::fail(core::ExitCode::kBadInput,
             "{}: the weights need {:.4g} GiB as {}, but this machine has {:.4g} GiB of memory", where,
             static_cast<double>(bytes) / gib, c10::toString(dtype), static_cast<double>(memory_bytes) / gib);
}

}  // namespace

void check_weights(const NamedTensors& parameters, const formats::TensorFile& file,
                   const std::string& where) {
  pair_up(parameters, file, where);
}

void fill_weights(const NamedTensors& parameters, const NamedParts& parts, const formats::TensorFile& file,
                  at::ScalarType dtype, const std::string& where) {
  read_weights(parameters, parts, file, dtype, where);
  file.release_pages();
}

void read_weights(const NamedTensors& parameters, const NamedParts& parts, const formats::TensorFile& file,
                  at::ScalarType dtype, const std::string& where) {
  const at::NoGradGuard no_grad;
  TORCH_CHECK(dtype == at::kFloat || dtype == at::kDouble || dtype == at::kBFloat16,
              "weights are loaded as fp64, fp32 or bf16");
  std::vector<Pairing> pairs;
  std::vector<std::string> problems;
  for (const auto& [name, parameter] : parameters) {
    const TensorInfo* info = file.find(name);
    if (!info) continue;
    const auto part = parts.find(name);
    check_pair(*info, part == parts.end() ? parameter.sizes().vec() : part->second.shape, problems);
    pairs.push_back(pairing_of(*info, name, parameter, parts));
  }
  if (!problems.empty()) core::fail(core::ExitCode::kBadInput, "{}: {}", where, fmt::join(problems, "; "));
  require_memory(pairs, dtype, where);
  for (const Pairing& pairing : pairs) {
    if (!is_allocated(pairing.parameter))
      pairing.parameter.set_data(at::empty(pairing.parameter.sizes(), dtype));
  }
  const std::vector<Chunk> chunks = cut(pairs, file);
  at::parallel_for(0, static_cast<int64_t>(chunks.size()), 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      core::map_now(chunks[i].window);
      decode_chunk(chunks[i], where);
    }
  });
  file.check_unchanged();
}

}  // namespace phalanx::model
