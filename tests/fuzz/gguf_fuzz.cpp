#include "formats/gguf.h"

#include <cstring>

#include "data/tokenizer.h"
#include "formats/gguf_keys.h"
#include "formats/gguf_tensor.h"
#include "formats/gguf_writer.h"
#include "fuzz/fuzz.h"
#include "fuzz/use_tensors.h"

namespace phalanx::fuzz {
namespace {

constexpr int64_t kMaxDecoded = 1 << 16;

void copy_gguf(const formats::GgufFile& file, const std::string& path) {
  std::vector<formats::TensorSpec> specs;
  for (const formats::TensorInfo& tensor : file.tensors())
    specs.push_back({tensor.name, tensor.dtype, tensor.shape});
  formats::GgufPairs pairs;
  for (const auto& [key, value] : file.metadata().values())
    if (key != "general.alignment") pairs.copy(key, value);  // the writer has its own
  formats::GgufWriter writer(path, specs, pairs);
  for (const formats::TensorInfo& tensor : file.tensors()) writer.write(tensor.name, file.bytes(tensor));
  writer.finish();
}

bool same(const formats::GgufValue& left, const formats::GgufValue& right) {
  if (left.type != right.type || left.value.index() != right.value.index()) return false;
  if (const auto* array = std::get_if<formats::GgufArray>(&left.value)) {
    const auto& other = std::get<formats::GgufArray>(right.value);
    return array->element_type == other.element_type && array->count == other.count &&
           array->strings == other.strings &&
           std::equal(array->bytes.begin(), array->bytes.end(), other.bytes.begin(), other.bytes.end());
  }
  if (const auto* number = std::get_if<double>(&left.value))  // a NaN is itself
    return std::memcmp(number, &std::get<double>(right.value), sizeof *number) == 0 || *number != *number;
  if (const auto* text = std::get_if<std::string_view>(&left.value))
    return *text == std::get<std::string_view>(right.value);
  if (const auto* flag = std::get_if<bool>(&left.value)) return *flag == std::get<bool>(right.value);
  if (const auto* integer = std::get_if<int64_t>(&left.value))
    return *integer == std::get<int64_t>(right.value);
  return std::get<uint64_t>(left.value) == std::get<uint64_t>(right.value);
}

void compare_gguf(const formats::GgufFile& file, const formats::GgufFile& copy) {
  for (const auto& [key, value] : file.metadata().values()) {
    if (key == "general.alignment") continue;
    const formats::GgufValue* written = copy.metadata().find(key);
    promise(written != nullptr && same(value, *written), "written metadata reads the same", key);
  }
  promise_same_tensors(file, copy);
}

void decode_tensors(const formats::GgufFile& file) {
  for (const formats::TensorInfo& tensor : file.tensors()) {
    int64_t count = 1;
    for (const int64_t size : tensor.shape) count *= size;
    const bool is_float = tensor.dtype <= core::DType::kBF16 || core::is_quantised(tensor.dtype);
    if (!is_float || count > kMaxDecoded) continue;
    std::vector<float> values(static_cast<size_t>(count));
    formats::to_float(tensor.dtype, file.bytes(tensor).data(), count, values.data());
  }
}

/// Each tensor as two matrices, one upon the other in three dimensions; in the order of one head where it has
/// two rows; as a norm where it is a vector.
std::vector<formats::GgufTensor> halves_of(const formats::GgufFile& file) {
  std::vector<formats::GgufTensor> layout;
  for (const formats::TensorInfo& tensor : file.tensors()) {
    if (tensor.shape.empty() || tensor.size_bytes == 0) continue;
    const std::string first = tensor.name + ".first", second = tensor.name + ".second";
    std::vector<int64_t> half = tensor.shape;
    if (tensor.shape.size() == 3 && tensor.shape[0] == 2) {
      half.erase(half.begin());
      layout.push_back({.name = tensor.name, .parts = {{first, half}, {second, half}}, .is_stack = true});
    } else if (tensor.shape.size() == 1) {
      layout.push_back({.name = tensor.name, .parts = {{first, half}}, .is_one_more = true});
    } else if (tensor.shape[0] == 2) {
      layout.push_back({.name = tensor.name, .parts = {{first, half}}, .num_heads = 1});
    } else if (tensor.shape[0] % 2 == 0) {
      half[0] /= 2;
      layout.push_back({.name = tensor.name, .parts = {{first, half}, {second, half}}});
    }
  }
  return layout;
}

/// What a user's file goes through: the keys of its architecture, its tensors as parameters, the tokenizer.
void use_as_model(const formats::GgufFile& file, const std::string& path) {
  accepts([&] {
    const formats::GgufKeys keys(file.metadata(), file.metadata().text("general.architecture"));
    keys.positive_or("rope.freq_base", 1);
    keys.integer("block_count", 1, formats::kMaxGgufLayers);
    keys.text_or("rope.scaling.type", "none");
    keys.positive("attention.layer_norm_rms_epsilon");
  });
  accepts([&] {
    const auto weights = formats::as_gguf_parameters(std::make_shared<formats::GgufFile>(path),
                                                     halves_of(file), {"rope_freqs.weight"}, path);
    for (const formats::TensorInfo& tensor : weights->tensors())
      if (tensor.size_bytes < kMaxDecoded) weights->bytes(tensor);
  });
  accepts([&] {
    const auto tokenizer = data::load_gguf_tokenizer(file);
    tokenizer->decode(tokenizer->encode("The cat sat.\n  12345 caf\xc3\xa9 <|im_end|>"), false);
  });
}

void fuzz_gguf(std::string_view input) {
  const std::string path = as_file(input, "input.gguf");
  accepts([&] {
    const formats::GgufFile file(path);
    file.check_unchanged();
    decode_tensors(file);
    use_as_model(file, path);
    if (file.num_shards() > 1 || file.metadata().has("split.count")) return;
    copy_gguf(file, path_of("copy.gguf"));
    compare_gguf(file, formats::GgufFile(path_of("copy.gguf")));
  });
}

}  // namespace
}  // namespace phalanx::fuzz

PHALANX_FUZZ_TARGET(gguf, phalanx::fuzz::fuzz_gguf)
