#include "generate/unverified.h"

#include <fmt/format.h>

#include "core/error.h"
#include "core/files.h"
#include "formats/hf_config.h"

namespace phalanx::generate {

namespace fs = std::filesystem;

void refuse_existing(const fs::path& destination) {
  if (fs::exists(destination) && !(fs::is_directory(destination) && fs::is_empty(destination))) {
    core::fail(core::ExitCode::kBadInput,
               "{}: already exists; nothing is overwritten, choose another name or remove it",
               destination.string());
  }
}

Unverified::Unverified(const fs::path& destination, bool is_first)
    : destination_(destination.has_filename() ? destination : destination.parent_path()) {
  const std::string suffix = destination_.extension() == ".gguf" ? ".gguf" : "";
  const std::string name = destination_.filename().string();
  path_ = destination_.parent_path() /
          fmt::format(".{}.unverified{}", name.substr(0, name.size() - suffix.size()), suffix);
  if (!is_first) return;
  std::error_code ignored;  // what cannot be removed cannot be written either, and that says why
  fs::remove_all(path_, ignored);
}

Unverified::~Unverified() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

void Unverified::publish(const nlohmann::json& verification) {
  const fs::path record = fs::is_directory(path_) ? path_ / "verification.json"
                                                  : fs::path(destination_.string() + ".verification.json");
  formats::write_hf_json(record, verification);
  std::error_code error;
  fs::rename(path_, destination_, error);
  if (error)
    core::fail(core::ExitCode::kStorage, "{}: cannot be put in place: {}", destination_.string(),
               error.message());
  const fs::path parent = destination_.parent_path();
  core::fsync_directory(parent.empty() ? "." : parent.string());
}

}  // namespace phalanx::generate
