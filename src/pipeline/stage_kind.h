#pragma once
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/config_field.h"
#include "core/yaml_tree.h"

namespace phalanx::pipeline {

struct Stage;

/// What a stage leaves for others: a file or folder inside its own folder.
struct Result {
  std::string path;  ///< relative to the stage's folder
  core::PathOf of = core::PathOf::kModel;
};

/// One kind of stage, as `kind` names it. A stage has the kind's own keys, and beside them sections of the
/// run config.
struct StageKind {
  std::string name;
  std::string help;  ///< one sentence
  std::vector<core::Field> keys = {};
  std::function<std::shared_ptr<void>()> make = {};  ///< an Options object with the defaults of `keys`

  std::vector<std::string> reads = {};     ///< of the run config: sections or "section.key"; empty: all
  std::vector<std::string> own_only = {};  ///< sections that it does not take from `defaults`
  std::function<Result(const Stage&)> result = {};
  /// What the declarations of keys cannot say. Called for a stage whose keys are all valid.
  std::function<void(const Stage&, std::vector<core::Problem>&)> check = {};
  bool resumes = false;     ///< goes on in a folder that it was working in when it ended
  bool keeps_work = false;  ///< what people made is in its folder, which is never emptied
  /// Does the work, in a process that was started for it, and on every rank of its mesh. @return an exit
  /// code; 75: it can go on. @throws core::Error.
  std::function<int(const Stage&)> run = {};
};

template <typename Options>
StageKind make_kind(std::string name, std::string help,
                    const std::function<void(core::SectionBuilder<Options>&)>& declare) {
  core::SectionBuilder<Options> builder;
  declare(builder);
  return {.name = std::move(name), .help = std::move(help), .keys = std::move(builder.fields), .make = [] {
            return std::static_pointer_cast<void>(std::make_shared<Options>());
          }};
}

bool is_section(const std::string& name);
/// Does a stage of this kind read "section" (or a key of it), "section.key"?
bool reads(const StageKind& kind, const std::string& key);

/// `make` is called once, when the first pipeline is read. @return true.
bool register_stage_kind(StageKind (*make)());
/// By name.
const std::vector<StageKind>& stage_kinds();

}  // namespace phalanx::pipeline
