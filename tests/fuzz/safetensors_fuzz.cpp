#include "formats/safetensors.h"
#include "fuzz/fuzz.h"

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
    promise(copy.tensors().size() == file.tensors().size(), "as many tensors are read as were written");
    for (const formats::TensorInfo& tensor : file.tensors()) {
      const formats::TensorInfo* written = copy.find(tensor.name);
      promise(written != nullptr && written->dtype == tensor.dtype && written->shape == tensor.shape,
              "a written tensor has the same name, type and shape");
      const auto before = file.bytes(tensor), after = copy.bytes(*written);
      promise(std::equal(before.begin(), before.end(), after.begin(), after.end()),
              "a written tensor has the same bytes");
    }
  });
}

}  // namespace
}  // namespace phalanx::fuzz

PHALANX_FUZZ_TARGET(safetensors, phalanx::fuzz::fuzz_safetensors)
