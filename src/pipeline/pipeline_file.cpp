#include "pipeline/pipeline_file.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <set>

#include "core/config_bind.h"
#include "core/config_set.h"
#include "core/files.h"
#include "core/suggest.h"
#include "pipeline/stage_tree.h"

namespace phalanx::pipeline {
namespace {

using core::Position;
using core::YamlEntry;
using core::YamlNode;
using Kind = YamlNode::Kind;

struct PipelineOptions {
  std::string output_dir;
};

struct GroupOptions {
  int64_t rounds = 1;
};

std::vector<core::Field> pipeline_keys() {
  core::SectionBuilder<PipelineOptions> s;
  s.field("output_dir", &PipelineOptions::output_dir,
          {.help = "Folder that gets a folder for each stage.", .required_in_item = true});
  return std::move(s.fields);
}

std::vector<core::Field> group_keys() {
  core::SectionBuilder<GroupOptions> s;
  s.field("rounds", &GroupOptions::rounds,
          {.help = "How often the stages run.", .min = 1, .max = 1000, .required_in_item = true});
  return std::move(s.fields);
}

YamlNode map_at(const Position& position) {
  return {.kind = Kind::kMap, .text = {}, .position = position, .items = {}, .entries = {}};
}

/// A stage as it is written, before anything is filled in.
struct Draft {
  std::string name, group;
  int64_t round = 1;
  const YamlEntry* entry;
};

class Reader {
 public:
  Reader(Pipeline& pipeline, std::vector<core::Problem>& problems)
      : pipeline_(pipeline), problems_(problems) {}

  void read(const YamlNode& root) {
    if (root.kind == Kind::kInvalid) return;
    if (root.kind != Kind::kMap) return report(root.position, "a pipeline is a map with pipeline and stages");
    for (const YamlEntry& entry : root.entries) {
      if (entry.key != "pipeline" && entry.key != "defaults" && entry.key != "stages")
        report(entry.position,
               fmt::format("unknown key {}; a pipeline has pipeline, defaults and stages, and "
                           "sections of the run config stand in those",
                           core::printable(entry.key, 60)));
    }
    read_pipeline(root);
    if (const YamlEntry* entry = root.find("defaults")) read_defaults(*entry);
    const YamlEntry* stages = root.find("stages");
    if (stages == nullptr || stages->value.kind != Kind::kMap || stages->value.entries.empty())
      return report(stages ? stages->value.position : root.position,
                    "stages must be a map of stages, such as 'stages: {sft: {kind: train, ...}}'");
    for (const YamlEntry& entry : stages->value.entries) draft(entry);
    for (const Draft& draft : drafts_) names_.push_back(draft.name);
    for (const Draft& draft : drafts_) pipeline_.stages.push_back(finish(draft));
  }

 private:
  void read_pipeline(const YamlNode& root) {
    PipelineOptions options;
    const YamlEntry* entry = root.find("pipeline");
    if (entry == nullptr || entry->value.kind != Kind::kMap)
      return report(entry ? entry->value.position : root.position,
                    "pipeline is missing; write 'pipeline: {output_dir: runs/NAME}'");
    core::bind_map(entry->value, pipeline_keys(), "pipeline", &options, problems_);
    pipeline_.output_dir = options.output_dir;
  }

  /// Also what no stage reads is checked.
  void read_defaults(const YamlEntry& entry) {
    defaults_ = entry.value;
    if (defaults_.kind != Kind::kMap) return report(defaults_.position, "defaults must be a map of sections");
    for (const YamlEntry& given : defaults_.entries) {
      const auto section = std::find_if(core::sections().begin(), core::sections().end(),
                                        [&](const core::Section& s) { return s.name == given.key; });
      if (section == core::sections().end()) report(given.position, core::unknown_section_message(given.key));
    }
  }

  void draft(const YamlEntry& entry) {
    if (!is_name(entry)) return;
    if (entry.value.kind == Kind::kMap && entry.value.find("rounds") != nullptr) return draft_rounds(entry);
    drafts_.push_back({entry.key, "", 1, &entry});
  }

  void draft_rounds(const YamlEntry& group) {
    YamlNode own = map_at(group.value.position);
    const YamlEntry* stages = nullptr;
    for (const YamlEntry& entry : group.value.entries) {
      if (entry.key == "stages") stages = &entry;
      if (entry.key != "stages") own.entries.push_back(entry);
    }
    GroupOptions options;
    if (!core::bind_map(own, group_keys(), "stages." + group.key, &options, problems_)) return;
    if (stages == nullptr || stages->value.kind != Kind::kMap)
      return report(group.position,
                    fmt::format("{} has rounds but no stages; write 'stages: {{...}}' beside it",
                                core::printable(group.key, 60)));
    num_rounds_[group.key] = options.rounds;
    for (int64_t round = 1; round <= options.rounds; ++round) {
      for (const YamlEntry& entry : stages->value.entries) {
        if (!is_name(entry)) continue;
        drafts_.push_back({fmt::format("{}/{}/{}", group.key, round, entry.key), group.key, round, &entry});
      }
    }
  }

  bool is_name(const YamlEntry& entry) {
    const bool is_good = !entry.key.empty() && entry.key.size() <= 64 &&
                         std::all_of(entry.key.begin(), entry.key.end(),
                                     [](unsigned char c) { return std::isalnum(c) || c == '-' || c == '_'; });
    if (!is_good)
      report(entry.position, fmt::format("{} is no name of a stage; use letters, digits, - and _",
                                         core::printable(entry.key, 60)));
    return is_good;
  }

  Stage finish(const Draft& draft) {
    Stage stage{.name = draft.name,
                .kind = nullptr,
                .folder = pipeline_.output_dir + "/" + draft.name,
                .round = draft.round,
                .uses = {},
                .config = core::Config::defaults(),
                .keys = nullptr,
                .tree = map_at(draft.entry->value.position)};
    if (draft.entry->value.kind == Kind::kInvalid) return stage;
    if (draft.entry->value.kind != Kind::kMap) {
      report(draft.entry->value.position, "a stage is a map with its kind, such as {kind: train, ...}");
      return stage;
    }
    stage.kind = kind_of(*draft.entry);
    if (stage.kind == nullptr) return stage;
    const size_t before = problems_.size();
    stage.tree = stage_tree(draft.entry->value, defaults_, *stage.kind, draft.name, problems_);
    stage.uses = resolve_references(stage.tree, stage.kind->keys, pipeline_.stages,
                                    {draft.group, draft.round, names_, num_rounds_}, problems_);
    bind(stage, draft);
    if (problems_.size() == before && stage.kind->check) stage.kind->check(stage, problems_);
    if (problems_.size() == before) refuse_second_maker(stage);
    return stage;
  }

  const StageKind* kind_of(const YamlEntry& entry) {
    const YamlEntry* kind = entry.value.find("kind");
    std::vector<std::string> names;
    for (const StageKind& known : stage_kinds()) {
      if (kind != nullptr && known.name == kind->value.text) return &known;
      names.push_back(known.name);
    }
    if (kind == nullptr) {
      report(entry.position,
             fmt::format("stage {} has no kind; it is one of {}", entry.key, fmt::join(names, ", ")));
    } else {
      const auto near = core::nearest(kind->value.text, names);
      report(kind->value.position,
             fmt::format("kind is {}, which is none of {}{}", core::printable(kind->value.text, 60),
                         fmt::join(names, ", "), near ? fmt::format("; did you mean {}?", *near) : ""));
    }
    return nullptr;
  }

  void bind(Stage& stage, const Draft& draft) {
    YamlNode own = map_at(stage.tree.position), sections = map_at(stage.tree.position);
    for (const YamlEntry& entry : stage.tree.entries)
      (is_section(entry.key) ? sections : own).entries.push_back(entry);
    const std::shared_ptr<void> options = stage.kind->make();
    std::erase_if(own.entries, [](const YamlEntry& entry) { return entry.key == "kind"; });
    if (core::bind_map(own, stage.kind->keys, "stages." + draft.name, options.get(), problems_))
      stage.keys = options;
    set_run(sections, "output_dir", stage.folder, draft.entry->position);
    if (!core::find_written(sections, "run.name").is_exact)
      set_run(sections, "name", draft.name, draft.entry->position);
    stage.config = core::Config::from_tree(std::move(sections), pipeline_.file, pipeline_.sets, problems_);
  }

  void set_run(YamlNode& sections, const std::string& key, const std::string& value,
               const Position& position) {
    auto run = std::find_if(sections.entries.begin(), sections.entries.end(),
                            [](const YamlEntry& entry) { return entry.key == "run"; });
    if (run == sections.entries.end())
      run = sections.entries.insert(run, {.key = "run", .position = position, .value = map_at(position)});
    if (run->value.kind != Kind::kMap) return;
    if (const YamlEntry* written = run->value.find(key))
      return report(written->position,
                    fmt::format("run.{} is set here, but in a pipeline it is {}; remove it", key,
                                core::printable(value)));
    run->value.entries.push_back({key,
                                  position,
                                  {.kind = Kind::kScalar,
                                   .quoted = true,
                                   .text = value,
                                   .position = position,
                                   .items = {},
                                   .entries = {}}});
  }

  /// A file that stands in a stage's folder is used by its name, or nobody would know that it changed.
  void refuse_second_maker(const Stage& stage) {
    for (const core::NamedPath& named : stage.named_paths()) {
      const std::string folder =
          std::filesystem::path(pipeline_.output_dir).lexically_normal().string() + "/";
      const bool is_inside =
          std::filesystem::path(named.path).lexically_normal().string().starts_with(folder);
      if (!is_inside || pipeline_.maker_of(stage, named.path) < pipeline_.stages.size()) continue;
      report(stage.position(named.key),
             fmt::format("{} is {}, which lies in this pipeline's output_dir; name the stage that makes it: "
                         "{{from: STAGE}}",
                         named.key, core::printable(named.path)));
    }
  }

  void report(const Position& position, std::string message) {
    problems_.push_back({position, std::move(message)});
  }

  Pipeline& pipeline_;
  std::vector<core::Problem>& problems_;
  YamlNode defaults_;
  std::vector<Draft> drafts_;
  std::vector<std::string> names_;
  std::map<std::string, int64_t> num_rounds_;
};

}  // namespace

std::map<std::string, std::string> Stage::values() const {
  std::map<std::string, std::string> values = core::values_by_key(kind->keys, "", keys.get());
  values["kind"] = kind->name;
  for (auto& [key, value] : config.values()) {
    if (reads(*kind, key.substr(0, key.find('[')))) values.emplace(key, value);
  }
  return values;
}

std::vector<core::NamedPath> Stage::named_paths() const {
  std::vector<core::NamedPath> paths = core::named_paths(kind->keys, "", keys.get());
  for (core::NamedPath& path : config.named_paths()) {
    if (reads(*kind, path.key.substr(0, path.key.find('[')))) paths.push_back(std::move(path));
  }
  return paths;
}

Position Stage::position(const std::string& key) const {
  return core::find_written(tree, key).nearest;
}

Pipeline Pipeline::load(const std::string& path, const std::vector<std::string>& sets) {
  return parse(core::Config::read(path), path, sets);
}

Pipeline Pipeline::parse(const std::string& text, const std::string& name,
                         const std::vector<std::string>& sets) {
  std::vector<core::Problem> problems;
  YamlNode root = core::parse_yaml(text, -1, problems);
  if (root.kind == Kind::kMap) {
    for (size_t i = 0; i < sets.size(); ++i) core::apply_set(root, sets[i], static_cast<int>(i), problems);
  }
  Pipeline pipeline{.file = name, .output_dir = {}, .sets = sets, .stages = {}};
  Reader(pipeline, problems).read(root);
  if (!problems.empty()) throw core::errors_of(std::move(problems), name, sets);
  return pipeline;
}

size_t Pipeline::find(const std::string& name) const {
  std::vector<std::string> names;
  for (size_t i = 0; i < stages.size(); ++i) {
    if (stages[i].name == name) return i;
    names.push_back(stages[i].name);
  }
  core::fail(core::ExitCode::kBadConfig, "{}: there is no stage {}; known are {}", core::printable(file),
             core::printable(name, 60), fmt::join(names, ", "));
}

size_t Pipeline::maker_of(const Stage& stage, const std::string& path) const {
  for (const size_t used : stage.uses) {
    if (stages[used].result_path() == path) return used;
  }
  return stages.size();
}

void Pipeline::check_inputs() const {
  std::vector<core::Problem> problems;
  for (const Stage& stage : stages) {
    for (const core::NamedPath& named : stage.named_paths()) {
      const bool must_exist = named.of != core::PathOf::kFile && !is_made_up(named.path) &&
                              maker_of(stage, named.path) == stages.size();
      if (!must_exist || std::filesystem::exists(named.path)) continue;
      problems.push_back({stage.position(named.key), fmt::format("{} is {}: no such file or folder",
                                                                 named.key, core::printable(named.path))});
    }
  }
  if (!problems.empty()) throw core::errors_of(std::move(problems), file, sets);
}

bool is_made_up(const std::string& path) {
  return path.starts_with("task:");
}

}  // namespace phalanx::pipeline
