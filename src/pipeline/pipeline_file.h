#pragma once
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/config.h"
#include "pipeline/stage_kind.h"

namespace phalanx::pipeline {

/// One stage, with `defaults` and the results of other stages filled in, checked.
struct Stage {
  std::string name;  ///< "dpo"; inside rounds "loop/2/dpo"
  const StageKind* kind = nullptr;
  std::string folder;        ///< OUTPUT_DIR/NAME: everything that it writes
  int64_t round = 1;         ///< inside rounds
  std::vector<size_t> uses;  ///< the stages whose results it uses, all before it
  core::Config config;       ///< its sections; run.output_dir is `folder`
  std::shared_ptr<const void> keys;
  core::YamlNode tree;  ///< as it is written, with positions

  template <typename Options>
  const Options& options() const {
    return *static_cast<const Options*>(keys.get());
  }
  std::string result_path() const { return folder + "/" + kind->result(*this).path; }
  /// Every key and value that it depends on, "method.beta" -> "0.1".
  std::map<std::string, std::string> values() const;
  /// The paths that it reads, results of other stages included.
  std::vector<core::NamedPath> named_paths() const;
  /// Where "section.key" or "key" is written.
  core::Position position(const std::string& key) const;
};

/// Stages in the order in which they run, from one YAML file:
///
///     pipeline: {output_dir: runs/NAME}
///     defaults: {sections of the run config, for every stage that reads them}
///     stages:
///       NAME: {kind: KIND, the kind's keys and sections}
///       GROUP: {rounds: N, stages: {...}}
///
/// Keys of a stage replace those of `defaults`, one by one; `section: null` leaves a section out. Wherever a
/// path is named, {from: STAGE} puts the result of an earlier stage (references.h).
struct Pipeline {
  std::string file, output_dir;
  std::vector<std::string> sets;
  std::vector<Stage> stages;

  /// @param sets  "stages.dpo.method.beta=0.2" each, from --set.
  /// @throws core::ConfigErrors (78) with everything that is wrong, of all stages, by its place in the file.
  static Pipeline load(const std::string& path, const std::vector<std::string>& sets = {});
  static Pipeline parse(const std::string& text, const std::string& name,
                        const std::vector<std::string>& sets = {});

  /// @throws core::Error (78) listing the known ones.
  size_t find(const std::string& stage) const;
  /// The stage whose result lies at `path`, among those that `stage` uses; size() of stages if none.
  size_t maker_of(const Stage& stage, const std::string& path) const;
  /// Models and records that no stage makes and that are not there. @throws core::ConfigErrors (78).
  void check_inputs() const;
};

/// Is it made up in place of being read ("task:addition")?
bool is_made_up(const std::string& path);

}  // namespace phalanx::pipeline
