#include "formats/safetensors.h"
#include "fuzz/fuzz.h"
#include "fuzz/use_tensors.h"

namespace phalanx::fuzz {
namespace {

void write_copy(const formats::SafetensorsFile& file, const std::string& path) {
  std::vector<formats::TensorSpec> specs;
  for (const formats::TensorInfo& tensor : file.tensors())
    specs.push_back({tensor.name, tensor.dtype, tensor.shape});
  formats::SafetensorsWriter writer(path, specs, file.metadata());
  for (const formats::TensorInfo& tensor : file.tensors()) writer.write(tensor.name, file.bytes(tensor));
  writer.finish();
}

void fuzz_safetensors(std::string_view input) {
  const std::string path = as_file(input, "input.safetensors");
  accepts([&] {
    const formats::SafetensorsFile file(path);
    file.check_unchanged();
    const std::string copy_path = path_of("copy.safetensors");
    write_copy(file, copy_path);
    const formats::SafetensorsFile copy(copy_path);
    promise(copy.metadata() == file.metadata(), "written metadata reads the same");
    promise_same_tensors(file, copy);
  });
}

}  // namespace
}  // namespace phalanx::fuzz

PHALANX_FUZZ_TARGET(safetensors, phalanx::fuzz::fuzz_safetensors)
