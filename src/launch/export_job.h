#pragma once
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "core/config.h"
#include "formats/hf_weights.h"
#include "generate/streamed_model.h"

namespace phalanx::launch {

/// What the user of export, import or merge says.
struct ExportArguments {
  std::string source, destination, to = "hf";
  std::string outtype;  ///< empty: the source's own type
  std::string imatrix;  ///< --imatrix-data
  bool adapter_alone = false;
  uint64_t max_shard_bytes = formats::kDefaultShardBytes;
  std::vector<std::string> sets;
};

/// One model on its way into another format, on every rank that takes part.
struct ExportJob {
  const ExportArguments& arguments;
  comm::Communicator& group;
  generate::StreamedModel source;
  /// Called with the path of what was written, before it is read back: tests damage it.
  std::function<void(const std::filesystem::path&)> after_writing = {};

  /// The name of the written type: as asked, else the source's own where a file can hold it, else bf16.
  std::string out_type() const;
  bool is_first() const { return group.rank() == 0; }
};

/// Writes where nobody looks, reads it back, and gives it its name with verification.json. Collective.
/// @param type    as verification.json and messages call it.
/// @param write   collective; to this path.
/// @param verify  collective; throws for what is not its source. @return what it found.
void publish_verified(ExportJob& job, const std::string& type,
                      const std::function<void(const std::filesystem::path&)>& write,
                      const std::function<nlohmann::json(const std::filesystem::path&)>& verify);

/// @throws core::Error (kBadConfig) if --imatrix-data is given, for a `type` that has no use for it.
void refuse_importance(const ExportArguments& arguments, const std::string& type);
/// @throws core::Error (kBadInput) if the source has no adapter. @param writer  the option that asks for one.
void require_adapter(const ExportJob& job, const std::string& writer);

/// A format of --to. Its file registers it.
struct OutputFormat {
  std::string name;
  bool writes_adapter_alone = false;  ///< takes --adapter
  std::function<void(ExportJob&)> write;
};
bool register_output_format(OutputFormat format);
/// @throws core::Error (kBadConfig) listing the known ones.
const OutputFormat& find_output_format(const std::string& name);
std::vector<std::string> output_format_names();

/// Refuses what cannot become anything, before a model is opened. @throws core::Error (65, 78).
void check_arguments(const ExportArguments& arguments);

/// The whole export of what `arguments.source` names. Collective. @param after_writing  see ExportJob.
void export_model(const ExportArguments& arguments, const core::Config& config, comm::Communicator& group,
                  const std::function<void(const std::filesystem::path&)>& after_writing = {});
/// The same of a model that is opened already. check_arguments() has been called.
void export_source(generate::ModelSource source, const ExportArguments& arguments, comm::Communicator& group,
                   const std::function<void(const std::filesystem::path&)>& after_writing = {});

}  // namespace phalanx::launch
