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
#include "core/vector_clones.h"
#include "formats/tensor_spec.h"

namespace phalanx::model {
namespace {

using core::DType;
using formats::TensorInfo;

constexpr int64_t kChunkElements =
    1 << 16;  // 256 kB of fp32: stays in the cache between decoding and rounding

struct Pairing {
  const TensorInfo* info;
  at::Tensor parameter;
};

bool is_float(DType dtype) {
  return core::is_quantised(dtype) || dtype == DType::kF64 || dtype == DType::kF32 || dtype == DType::kF16 ||
         dtype == DType::kBF16;
}

// Buffers that older versions of transformers stored beside the weights; they follow from the config.
bool is_derived(const std::string& name) {
  return name.ends_with(".rotary_emb.inv_freq");
}

// A tied output matrix that is stored all the same, as some writers do: fine if it holds the same bytes.
bool is_same_as_embedding(const TensorInfo& info, const formats::TensorFile& file) {
  const TensorInfo* embedding = file.find("model.embed_tokens.weight");
  if (info.name != "lm_head.weight" || !embedding || embedding->dtype != info.dtype) return false;
  const auto a = file.bytes(info), b = file.bytes(*embedding);
  return std::equal(a.begin(), a.end(), b.begin(), b.end());
}

void check_pair(const TensorInfo& info, const at::Tensor& parameter, std::vector<std::string>& problems) {
  const std::vector<int64_t> wanted = parameter.sizes().vec();
  if (info.shape != wanted) {
    problems.push_back(fmt::format("{} has the shape {}, the config asks for {}", info.name,
                                   formats::shape_text(info.shape), formats::shape_text(wanted)));
  } else if (!is_float(info.dtype)) {
    problems.push_back(
        fmt::format("{} is {}, not a floating-point or quantised type", info.name, core::name(info.dtype)));
  }
}

// Every parameter with its stored tensor, or one error with everything that does not fit.
std::vector<Pairing> pair_up(const NamedTensors& parameters, const formats::TensorFile& file,
                             const std::string& where) {
  std::map<std::string, const TensorInfo*> left;
  for (const TensorInfo& info : file.tensors()) left.emplace(info.name, &info);
  std::vector<std::string> problems;
  std::vector<Pairing> pairs;
  for (const auto& [name, parameter] : parameters) {
    const auto found = left.find(name);
    if (found == left.end()) {
      problems.push_back(fmt::format("{} is missing", name));
      continue;
    }
    check_pair(*found->second, parameter, problems);
    pairs.push_back({found->second, parameter});
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
  return pairs;
}

/// Some whole rows of one tensor; bounds in elements. Rows are whole blocks of a quantised type.
struct Chunk {
  const Pairing* pairing;
  const std::byte* stored;  // of the whole tensor
  int64_t begin, end;
};

std::vector<Chunk> cut(const std::vector<Pairing>& pairs, const formats::TensorFile& file) {
  std::vector<Chunk> chunks;
  for (const Pairing& pairing : pairs) {
    const int64_t numel = pairing.parameter.numel();
    const int64_t row = std::max<int64_t>(1, pairing.parameter.size(-1));
    const int64_t step = std::max<int64_t>(1, kChunkElements / row) * row;
    const std::byte* stored = file.bytes(*pairing.info).data();
    for (int64_t begin = 0; begin < numel; begin += step) {
      chunks.push_back({&pairing, stored, begin, std::min(begin + step, numel)});
    }
  }
  return chunks;
}

// Integers only, so that the bits are the same with all widths.
PHX_VECTOR_CLONES uint32_t largest_magnitude(const uint32_t* bits, size_t count) {
  uint32_t largest = 0;
  for (size_t i = 0; i < count; ++i) largest = std::max(largest, bits[i] & 0x7FFFFFFFU);
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

template <typename T>
void decode(const Chunk& chunk, const std::string& where) {
  const DType dtype = chunk.pairing->info->dtype;
  const std::byte* source =
      chunk.stored + chunk.begin / core::block_elements(dtype) * core::block_bytes(dtype);
  static thread_local std::vector<float> values;
  values.resize(chunk.end - chunk.begin);
  formats::to_float(dtype, source, chunk.end - chunk.begin, values.data());
  if (!all_finite(values)) refuse_not_finite(*chunk.pairing->info, where);
  convert(values, chunk.pairing->parameter.template mutable_data_ptr<T>() + chunk.begin);
}

// fp64 weights keep all their bits where the model computes in fp64.
void copy_double(const Chunk& chunk, const std::string& where) {
  double* out = chunk.pairing->parameter.mutable_data_ptr<double>();
  std::memcpy(out + chunk.begin, chunk.stored + chunk.begin * 8, (chunk.end - chunk.begin) * 8);
  if (!std::all_of(out + chunk.begin, out + chunk.end, [](double x) { return std::isfinite(x); })) {
    refuse_not_finite(*chunk.pairing->info, where);
  }
}

void decode_chunk(const Chunk& chunk, const std::string& where) {
  switch (chunk.pairing->parameter.scalar_type()) {
    case at::kBFloat16:
      return decode<at::BFloat16>(chunk, where);
    case at::kDouble:
      return chunk.pairing->info->dtype == DType::kF64 ? copy_double(chunk, where)
                                                       : decode<double>(chunk, where);
    default:
      return decode<float>(chunk, where);
  }
}

}  // namespace

void check_weights(const NamedTensors& parameters, const formats::TensorFile& file,
                   const std::string& where) {
  pair_up(parameters, file, where);
}

void fill_weights(const NamedTensors& parameters, const formats::TensorFile& file, at::ScalarType dtype,
                  const std::string& where) {
  const at::NoGradGuard no_grad;
  TORCH_CHECK(dtype == at::kFloat || dtype == at::kDouble || dtype == at::kBFloat16,
              "weights are loaded as fp64, fp32 or bf16");
  const std::vector<Pairing> pairs = pair_up(parameters, file, where);
  for (const Pairing& pairing : pairs) {
    if (!is_allocated(pairing.parameter))
      pairing.parameter.set_data(at::empty(pairing.parameter.sizes(), dtype));
  }
  const std::vector<Chunk> chunks = cut(pairs, file);
  at::parallel_for(0, static_cast<int64_t>(chunks.size()), 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) decode_chunk(chunks[i], where);
  });
  file.check_unchanged();
  file.release_pages();
}

}  // namespace phalanx::model
