#include "pipeline/references.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <set>

#include "core/scalar.h"
#include "core/suggest.h"

namespace phalanx::pipeline {
namespace {

using core::Field;
using core::PathOf;
using core::YamlEntry;
using core::YamlNode;
using Kind = YamlNode::Kind;

YamlNode scalar(std::string text, const core::Position& position) {
  return {.kind = Kind::kScalar,
          .quoted = true,
          .text = std::move(text),
          .position = position,
          .items = {},
          .entries = {}};
}

std::string way_out(PathOf wanted, PathOf made, const std::string& stage) {
  if (wanted != PathOf::kModel || made != PathOf::kAdapter) return "";
  return fmt::format(
      "; put a stage of kind merge between them, or go on with the adapter: lora: {{path: {{from: {}}}}}",
      stage);
}

const Field* field_of(const std::vector<Field>& fields, const std::string& name) {
  const auto found =
      std::find_if(fields.begin(), fields.end(), [&](const Field& field) { return field.name == name; });
  return found == fields.end() ? nullptr : &*found;
}

class Resolver {
 public:
  Resolver(const std::vector<Stage>& earlier, const Scope& scope, std::vector<core::Problem>& problems)
      : earlier_(earlier), scope_(scope), problems_(problems) {}

  void resolve(YamlNode& map, const std::vector<Field>& fields, const std::string& prefix) {
    for (YamlEntry& entry : map.entries) {
      const std::string key = prefix + entry.key;
      const Field* field = field_of(fields, entry.key);
      if (is_reference(entry.value)) {
        replace(entry.value, field, key);
      } else if (entry.value.kind == Kind::kSequence) {
        resolve_items(entry.value, field, key);
      }
    }
  }

  std::vector<size_t> uses() const { return {uses_.begin(), uses_.end()}; }

 private:
  void resolve_items(YamlNode& list, const Field* field, const std::string& key) {
    std::vector<YamlNode> items;
    for (YamlNode& item : list.items) {
      for (YamlNode& one : each_round(std::move(item))) items.push_back(std::move(one));
    }
    list.items = std::move(items);
    for (size_t i = 0; i < list.items.size(); ++i) {
      YamlNode& item = list.items[i];
      const std::string path = fmt::format("{}[{}]", key, i);
      if (is_reference(item)) {
        replace(item, field, path);
      } else if (item.kind == Kind::kMap && field != nullptr) {
        resolve(item, field->item_fields, path + ".");
      }
    }
  }

  /// The item once for each round, where it, or a value in it, says `rounds: all`.
  std::vector<YamlNode> each_round(YamlNode item) {
    YamlNode* reference = with_rounds(item) ? &item : nullptr;
    for (YamlEntry& entry : item.entries) {
      if (with_rounds(entry.value)) reference = &entry.value;
    }
    if (reference == nullptr) return {std::move(item)};
    const YamlNode from = reference->find("from") ? reference->find("from")->value : YamlNode{};
    if (reference->find("rounds")->value.text != "all" || num_rounds_of(from.text) == 0) {
      report(reference->position,
             fmt::format("rounds must be all, and from name a stage inside rounds; known are {}",
                         known(/*in_rounds=*/true)));
      *reference = {
          .kind = Kind::kInvalid, .text = {}, .position = reference->position, .items = {}, .entries = {}};
      return {std::move(item)};
    }
    std::vector<YamlNode> items;
    for (int64_t round = 1; round <= num_rounds_of(from.text); ++round) {
      for (YamlEntry& entry : reference->entries) {
        if (entry.key != "rounds" && entry.key != "round") continue;
        entry.key = "round";
        entry.value = scalar(std::to_string(round), entry.position);
      }
      items.push_back(item);
    }
    return items;
  }

  static bool with_rounds(const YamlNode& node) {
    return is_reference(node) && node.find("rounds") != nullptr;
  }

  bool is_in_this_group(const std::string& name) const {
    return !scope_.group.empty() && is_name(fmt::format("{}/{}/{}", scope_.group, scope_.round, name));
  }
  bool is_name(const std::string& name) const {
    return std::find(scope_.names.begin(), scope_.names.end(), name) != scope_.names.end();
  }

  /// How many rounds of it there are up to here; 0: it is in none.
  int64_t num_rounds_of(const std::string& name) const {
    if (is_in_this_group(name)) return scope_.round;
    const auto group = scope_.num_rounds.find(name.substr(0, name.find('/')));
    return name.find('/') == std::string::npos || group == scope_.num_rounds.end() ? 0 : group->second;
  }

  /// The whole name of what a reference calls `name`.
  std::string whole_name(const std::string& name, int64_t round) const {
    if (is_in_this_group(name))
      return fmt::format("{}/{}/{}", scope_.group, round ? round : scope_.round, name);
    const int64_t last = num_rounds_of(name);
    const size_t slash = name.find('/');
    if (last == 0 || is_name(name)) return name;
    return fmt::format("{}/{}{}", name.substr(0, slash), round ? round : last, name.substr(slash));
  }

  void replace(YamlNode& node, const Field* field, const std::string& key) {
    const YamlNode reference = std::move(node);
    node = {.kind = Kind::kInvalid, .text = {}, .position = reference.position, .items = {}, .entries = {}};
    if (!has_known_keys(reference)) return;
    if (reference.find("previous") != nullptr) return replace_previous(node, reference, field, key);
    if (reference.find("first") != nullptr)
      return report(reference.position, "first belongs to {previous: STAGE, first: PATH}");
    if (reference.find("rounds") != nullptr)
      return report(reference.position,
                    "rounds: all makes several entries of one and needs a list, as in data.train");
    int64_t round = 0;
    if (const YamlEntry* entry = reference.find("round")) {
      const auto number = core::parse_integer(entry->value.text);
      round = std::holds_alternative<int64_t>(number) ? std::get<int64_t>(number) : -1;
      const int64_t last = num_rounds_of(reference.find("from")->value.text);
      if (round < 1 || round > last)
        return report(entry->position,
                      fmt::format("round is {} but must be 1 to {}, of a stage inside rounds",
                                  core::printable(entry->value.text, 40), last));
    }
    use(node, reference.find("from")->value, round, field, key);
  }

  void replace_previous(YamlNode& node, const YamlNode& reference, const Field* field,
                        const std::string& key) {
    const YamlEntry* first = reference.find("first");
    const YamlNode& name = reference.find("previous")->value;
    if (first == nullptr || reference.entries.size() != 2)
      return report(
          reference.position,
          "previous has no first; write {previous: STAGE, first: PATH}, where PATH is what the first "
          "round takes");
    if (!is_in_this_group(name.text))
      return report(name.position, fmt::format("previous names {}, which is no stage of these rounds",
                                               core::printable(name.text, 60)));
    if (scope_.round > 1) return use(node, name, scope_.round - 1, field, key);
    node = first->value;
    if (is_reference(node)) replace(node, field, key);
  }

  bool has_known_keys(const YamlNode& reference) {
    static const std::vector<std::string> known_keys = {"from", "round", "rounds", "previous", "first"};
    for (const YamlEntry& entry : reference.entries) {
      if (std::find(known_keys.begin(), known_keys.end(), entry.key) != known_keys.end()) continue;
      report(entry.position, fmt::format("unknown key {} of a reference; known are {}",
                                         core::printable(entry.key, 60), fmt::join(known_keys, ", ")));
      return false;
    }
    return true;
  }

  /// Puts the path of the result of `name` into `node`.
  void use(YamlNode& node, const YamlNode& name, int64_t round, const Field* field, const std::string& key) {
    const std::string whole = whole_name(name.text, round);
    const auto stage = std::find_if(earlier_.begin(), earlier_.end(),
                                    [&](const Stage& other) { return other.name == whole; });
    if (stage == earlier_.end()) return report_unknown(name, whole);
    if (stage->kind != nullptr && stage->keys != nullptr) {
      const PathOf of = stage->kind->result(*stage).of;
      if (field == nullptr || field->spec.path == PathOf::kNone)
        return report(name.position, fmt::format("{} takes no result of a stage, for it is no path", key));
      if (!core::takes(field->spec.path, of))
        return report(name.position, fmt::format("{} takes {}, but stage {} ({}) makes {}{}", key,
                                                 core::name(field->spec.path), whole, stage->kind->name,
                                                 core::name(of), way_out(field->spec.path, of, whole)));
      node = scalar(stage->result_path(), name.position);
    }
    uses_.insert(static_cast<size_t>(stage - earlier_.begin()));
  }

  void report_unknown(const YamlNode& name, const std::string& whole) {
    if (is_name(whole))
      return report(name.position,
                    fmt::format("stage {} does not come before this one; stages run in the order "
                                "in which they are written",
                                whole));
    std::vector<std::string> names;
    for (const Stage& stage : earlier_) names.push_back(stage.name);
    const auto near = core::nearest(name.text, names);
    report(name.position,
           fmt::format("there is no stage {}{} Stages before this one: {}", core::printable(name.text, 60),
                       near ? fmt::format("; did you mean {}?", *near) : ".", known(/*in_rounds=*/false)));
  }

  std::string known(bool in_rounds) const {
    std::vector<std::string> names;
    for (const Stage& stage : earlier_) {
      if (!in_rounds || stage.name.find('/') != std::string::npos) names.push_back(stage.name);
    }
    return names.empty() ? "none" : fmt::format("{}", fmt::join(names, ", "));
  }

  void report(const core::Position& position, std::string message) {
    problems_.push_back({position, std::move(message)});
  }

  const std::vector<Stage>& earlier_;
  const Scope& scope_;
  std::vector<core::Problem>& problems_;
  std::set<size_t> uses_;
};

}  // namespace

bool is_reference(const YamlNode& node) {
  return node.kind == Kind::kMap && (node.find("from") != nullptr || node.find("previous") != nullptr);
}

std::vector<size_t> resolve_references(YamlNode& tree, const std::vector<Field>& keys,
                                       const std::vector<Stage>& earlier, const Scope& scope,
                                       std::vector<core::Problem>& problems) {
  Resolver resolver(earlier, scope, problems);
  resolver.resolve(tree, keys, "");
  for (YamlEntry& entry : tree.entries) {
    for (const core::Section& section : core::sections()) {
      if (section.name == entry.key && entry.value.kind == Kind::kMap)
        resolver.resolve(entry.value, section.fields, section.name + ".");
    }
  }
  return resolver.uses();
}

}  // namespace phalanx::pipeline
