#include "pipeline/stage_kind.h"

#include <algorithm>

#include "core/config.h"

namespace phalanx::pipeline {
namespace {

using MakeKind = StageKind (*)();

std::vector<MakeKind>& registered_kinds() {
  static std::vector<MakeKind> kinds;
  return kinds;
}

}  // namespace

bool is_section(const std::string& name) {
  return std::any_of(core::sections().begin(), core::sections().end(),
                     [&](const core::Section& section) { return section.name == name; });
}

bool reads(const StageKind& kind, const std::string& key) {
  if (!is_section(key.substr(0, key.find('.')))) return false;
  return kind.reads.empty() ||
         std::any_of(kind.reads.begin(), kind.reads.end(), [&](const std::string& read) {
           return key == read || key.starts_with(read + ".") || read.starts_with(key + ".");
         });
}

bool register_stage_kind(StageKind (*make)()) {
  registered_kinds().push_back(make);
  return true;
}

const std::vector<StageKind>& stage_kinds() {
  static const std::vector<StageKind> kinds = [] {
    std::vector<StageKind> made;
    for (const MakeKind make : registered_kinds()) made.push_back(make());
    std::sort(made.begin(), made.end(),
              [](const StageKind& a, const StageKind& b) { return a.name < b.name; });
    return made;
  }();
  return kinds;
}

}  // namespace phalanx::pipeline
