#include "checkpoint/manifest.h"
#include "fuzz/fuzz.h"

namespace phalanx::fuzz {
namespace {

/// The input is what stands before the digest; with the right one the parser sees it, without it must refuse.
void fuzz_manifest(std::string_view input) {
  promise(!accepts([&] { checkpoint::parse_manifest(input, "MANIFEST.json"); }) || input.ends_with("\"\n}\n"),
          "a manifest without its digest is refused");
  std::string sealed(input);
  sealed += "\"manifest_digest\": \"" + checkpoint::to_hex(checkpoint::digest_of(input)) + "\"\n}\n";
  accepts([&] {
    const checkpoint::Manifest manifest = checkpoint::parse_manifest(sealed, "MANIFEST.json");
    const std::string text = checkpoint::to_text(manifest);
    promise(checkpoint::to_text(checkpoint::parse_manifest(text, "written.json")) == text,
            "a written manifest reads the same");
    for (const checkpoint::TensorEntry& tensor : manifest.tensors)
      promise(manifest.find(tensor.name) != nullptr, "every tensor is found");
    for (const checkpoint::FileEntry& file : manifest.files)
      promise(file.name.find('/') == std::string::npos && file.name != "..",
              "no file lies outside of the folder");
  });
}

}  // namespace
}  // namespace phalanx::fuzz

PHALANX_FUZZ_TARGET(manifest, phalanx::fuzz::fuzz_manifest)
